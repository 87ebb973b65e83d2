"""Tests of README and docs: links work, blocks say whether they are run, there is one summary.

Run with: python3 -m unittest discover embedded
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import book
import docs_blocks
import docs_run
from docs_blocks import REPO, Block

README_LINES_MAX = 150


def documents() -> list[Path]:
    """Every page whose links and blocks are checked."""
    found = sorted(REPO.glob("docs/**/*.md"))
    top = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    beside = ("saga/README.md", "temporal/README.md", "shop/data/README.md")
    return [*(REPO / name for name in (*top, *beside)), *found]


def anchor(heading: str) -> str:
    """The anchor that GitHub and mdBook generate for a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip())
    text = re.sub(r"[^\w\- ]", "", text.replace("`", "").lower())
    return text.replace(" ", "-")


def anchors(page: Path) -> set[str]:
    found: set[str] = set()
    for heading in re.findall(r"(?m)^#{1,6} +(.+?) *#*$", docs_blocks.prose_of(page)):
        name = anchor(heading)
        again = 0
        while (unique := f"{name}-{again}" if again else name) in found:
            again += 1
        found.add(unique)
    return found


def broken_links(page: Path) -> list[str]:
    wrong = []
    for number, line in enumerate(docs_blocks.prose_of(page).splitlines(), start=1):
        for path, fragment in docs_blocks.links(line):
            target = (page.parent / path).resolve() if path else page
            link = f"{path}#{fragment}" if fragment else path
            if not target.exists():
                wrong.append(f"{page.name}:{number}: {link} leads nowhere")
            elif fragment and target.suffix == ".md" and fragment not in anchors(target):
                wrong.append(f"{page.name}:{number}: {link} has no such heading")
    return wrong


class LinksTest(unittest.TestCase):
    def test_every_relative_link_and_anchor_leads_somewhere(self) -> None:
        self.assertEqual([line for page in documents() for line in broken_links(page)], [])

    def test_a_link_that_leads_nowhere_is_found(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder, "page.md")
            page.write_text("# One `two`, three\n[a](#one-two-three) [b](#two) [c](other.md) `[d](x.md)`\n")
            self.assertEqual(
                broken_links(page),
                ["page.md:2: #two has no such heading", "page.md:2: other.md leads nowhere"],
            )


class BookTest(unittest.TestCase):
    def test_every_page_is_in_the_summary_once(self) -> None:
        summary = (REPO / "docs" / "SUMMARY.md").read_text()
        listed = re.findall(r"\]\(([^)]+)\)", summary)
        there = [str(page.relative_to(REPO / "docs")) for page in (REPO / "docs").rglob("*.md")]
        self.assertEqual(sorted(listed), sorted(page for page in there if page != "SUMMARY.md"))

    def test_every_page_begins_with_its_title(self) -> None:
        wrong = [page.name for page in documents() if not page.read_text().startswith("# ")]
        self.assertEqual(wrong, [])

    def test_linked_files_of_the_repository_are_in_the_book(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            book.stage(Path(folder))
            there = {str(file.relative_to(folder)) for file in Path(folder).rglob("*") if file.is_file()}
            summary = Path(folder, "SUMMARY.md").read_text()
        self.assertLessEqual({"docs/api.md", "ARCHITECTURE.md", "starter-api/schema.graphql"}, there)
        self.assertIn("](docs/quick-start.md)", summary)
        self.assertIn("](ARCHITECTURE.md)", summary)

    def test_a_link_of_the_book_that_leads_nowhere_is_found(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            page = '<h1 id="one">One</h1><a href="#one"><a href="%23two"><a href="x.html#one"><a href="y.rs">'
            Path(folder, "x.html").write_text(page)
            Path(folder, "print.html").write_text('<a href="nowhere.html">')
            self.assertEqual(book.dead_links(Path(folder)), ["x.html: %23two", "x.html: y.rs"])

    def test_the_readme_is_short(self) -> None:
        lines = (REPO / "README.md").read_text().splitlines()
        self.assertLessEqual(len(lines), README_LINES_MAX)


class BlocksTest(unittest.TestCase):
    def blocks(self) -> list[Block]:
        return [block for page in documents() for block in docs_blocks.blocks_of(page)]

    def test_every_shell_block_says_whether_it_is_run(self) -> None:
        silent = [
            f"{block.where}: {block.info}"
            for block in self.blocks()
            if block.is_shell and block.group is None and block.why_not is None
        ]
        self.assertEqual(silent, [])

    def test_output_shows_no_commands_which_would_not_be_checked(self) -> None:
        prompts = [
            block.where
            for block in self.blocks()
            if not block.is_shell and re.search(r"(?m)^ *\$ ", block.text)
        ]
        self.assertEqual(prompts, [])

    def test_what_is_run_is_on_a_page_that_the_runner_reads(self) -> None:
        read = set(docs_blocks.pages())
        unread = [block.where for block in self.blocks() if block.group and block.page not in read]
        self.assertEqual(unread, [])

    def test_something_is_run_of_the_pages_that_promise_it(self) -> None:
        groups = {block.group for block in self.blocks() if block.group}
        self.assertLessEqual({docs_run.CLUSTER, "api", "operate"}, groups)

    def test_every_make_target_exists(self) -> None:
        makefile = (REPO / "Makefile").read_text()
        targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", makefile))
        wrong = []
        for page in documents():
            if page.name == "CHANGELOG.md":
                # Sections of earlier releases are not changed.
                continue
            named = re.findall(r"`make ([a-z][a-z-]*)", page.read_text())
            shown = [
                words[0]
                for block in docs_blocks.blocks_of(page)
                if block.is_shell
                for words in docs_blocks.commands(block.text, "make")
                if words
            ]
            wrong += [f"{page.name}: make {name}" for name in [*named, *shown] if name not in targets]
        self.assertEqual(wrong, [])


class ParsingTest(unittest.TestCase):
    def block(self, info: str, text: str = "true\n") -> Block:
        return Block(REPO / "README.md", 1, info, text)

    def test_a_block_is_run_or_says_why_not(self) -> None:
        self.assertEqual(self.block("sh run=api").group, "api")
        self.assertEqual(self.block('sh norun="needs a Stripe account"').why_not, "needs a Stripe account")
        for neither in ("sh", "sh run", 'sh norun=""', "sh norun=because", "bash run=api"):
            block = self.block(neither)
            self.assertEqual((block.group, block.why_not), (None, None), neither)

    def test_blocks_within_lists_lose_their_indent(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder, "page.md")
            page.write_text("1. One\n\n   ```sh run=api\n   one\n     two\n   ```\n\n```console\nx\n```\n")
            one, other = docs_blocks.blocks_of(page)
        self.assertEqual((one.text, one.line, one.group), ("one\n  two\n", 3, "api"))
        self.assertEqual((other.text, other.language), ("x\n", "console"))

    def test_commands_are_found_behind_variables_pipes_and_over_lines(self) -> None:
        text = (
            'A=1 ordersaga order list \\\n  --status done # why\necho "$(ordersaga prove)" | ordersaga replay -\n'
            "ordersaga worker > log 2>&1 &\n"
        )
        self.assertEqual(
            docs_blocks.commands(text, "ordersaga"),
            [["order", "list", "--status", "done"], ["prove"], ["replay", "-"], ["worker"]],
        )

    def test_a_command_that_a_program_does_not_know_is_found(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "ordersaga")
            program.write_text(
                '#!/bin/sh\ncase "$*" in\n'
                "'order list --help') echo 'Usage: order list --status S' ;;\n"
                "'order --help') echo 'Usage: order COMMAND' ;;\n"
                "'--help') echo 'Usage: COMMAND' ;;\n*) exit 2 ;;\nesac\n"
            )
            program.chmod(0o755)
            shown = "ordersaga order list --status done\nordersaga order list --state x\nordersaga orders\n"
            block = self.block('sh norun="needs an order"', shown)
            wrong = docs_run.look_up(block, {"ordersaga": str(program)}, {})
        self.assertEqual(
            wrong,
            [
                "README.md:1: `ordersaga order list --state x`: ordersaga order list has no --state",
                "README.md:1: `ordersaga orders`: there is no such command",
            ],
        )


class ShellsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "logs").mkdir()
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.shells = docs_run.Shells(self.folder, env, docs_run.Signals())
        self.addCleanup(self.shells.end)

    def run_block(self, text: str) -> None:
        self.shells.run(Block(REPO / "README.md", 7, "sh run=api", text))

    def test_a_block_meets_the_variables_and_functions_of_the_one_before(self) -> None:
        self.run_block('word="two words"\nsay_it() { echo "$1"; }\n')
        self.run_block('test "$(say_it "$word")" = "two words"\n')

    def test_a_command_that_fails_anywhere_fails_its_block(self) -> None:
        for text in ("false\ntrue\n", "false | cat\n", 'echo "$unset"\n'):
            with self.assertRaisesRegex(docs_run.Problem, "README.md:7 fails"):
                self.run_block(text)

    def test_what_a_block_leaves_running_is_ended(self) -> None:
        self.run_block("tail -f /dev/null > /dev/null 2>&1 &\necho $! > pid\n".replace("pid", str(self.folder / "pid")))
        pid = (self.folder / "pid").read_text().strip()
        self.shells.end()
        state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout
        self.assertIn(state.strip()[:1], ("", "Z"))


if __name__ == "__main__":
    unittest.main()
