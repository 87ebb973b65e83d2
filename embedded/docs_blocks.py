"""The shell blocks of README and docs, and what each says about being run.

A block of shell commands is fenced with `sh`, and says one of two things after it:

  ```sh run=api           `docs_run.py` runs it, with all blocks of `api` in the order of the pages
  ```sh norun="why"       it cannot be run by a test, and why; its commands are still checked
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

REPO = Path(__file__).resolve().parent.parent

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
RUN = re.compile(r"^sh run=(?P<group>[a-z-]+)$")
NORUN = re.compile(r'^sh norun="(?P<why>[^"]{8,})"$')
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()]*\)[^()\s]*)?)\)")
SHELLS = ("sh", "bash", "shell", "zsh", "shell-session")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def where(self) -> str:
        page = self.page.relative_to(REPO) if self.page.is_relative_to(REPO) else self.page
        return f"{page}:{self.line}"

    @property
    def language(self) -> str:
        return self.info.split(maxsplit=1)[0] if self.info.strip() else ""

    @property
    def group(self) -> str | None:
        """The group that it is run with."""
        found = RUN.match(self.info)
        return found["group"] if found else None

    @property
    def why_not(self) -> str | None:
        """Why it is not run."""
        found = NORUN.match(self.info)
        return found["why"] if found else None

    @property
    def is_shell(self) -> bool:
        return self.language in SHELLS


def pages() -> list[Path]:
    """README, then the book in its order, then other pages."""
    summary = (REPO / "docs" / "SUMMARY.md").read_text()
    book = [REPO / "docs" / page for page in re.findall(r"\]\(([^)#]+\.md)\)", summary)]
    beside = [REPO / page for page in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "temporal/README.md")]
    return [REPO / "README.md", *book, *beside]


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in any language."""
    blocks, opened, lines, indent = [], None, [], ""
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, indent, lines = (number, fence["info"].strip()), fence["indent"], []
        elif opened is not None and fence and not fence["info"].strip():
            blocks.append(Block(page, *opened, "\n".join(lines) + "\n"))
            opened = None
        elif opened is not None:
            lines.append(line.removeprefix(indent))
    return blocks


def prose_of(page: Path) -> str:
    """The page without its fenced blocks, whose lines are left empty."""
    kept, within = [], False
    for line in page.read_text().splitlines():
        if FENCE.match(line):
            within = not within
            kept.append("")
        else:
            kept.append("" if within else line)
    return "\n".join(kept)


def links(prose: str) -> list[tuple[str, str]]:
    """The path and the fragment of each relative link in this prose; text in code is not a link."""
    found = LINK.findall(re.sub(r"`[^`\n]*`", "", prose))
    relative = [link for link in found if not re.match(r"[a-z][a-z0-9+.-]*:", link)]
    return [(path, fragment) for path, _, fragment in (unquote(link).partition("#") for link in relative)]


def commands(text: str, program: str) -> list[list[str]]:
    """The words of each command of this program in a block, including continued lines.

    Prefixes such as variables, a pipe or `$(` are skipped; words after a pipe, a redirection or a
    comment are not part of the command.
    """
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\||&&|;|\$\(", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                # A quote that is closed elsewhere: the words before it are enough.
                words = [word.rstrip(")\"'") for word in part.split()]
            while words and re.fullmatch(r"[A-Za-z_]+=.*", words[0]):
                words.pop(0)
            if words and Path(words[0]).name == program:
                cut = next((at for at, word in enumerate(words) if word[0:1] in "<>&"), len(words))
                found.append(words[1:cut])
    return found
