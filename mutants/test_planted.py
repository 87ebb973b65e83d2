"""What is planted fits the code, and what the documentation says of it.

Run with: python3 -m unittest discover mutants
"""

from __future__ import annotations

import re
import unittest
from pathlib import Path

from planted import PLANTED
from run import CHECKS

ROOT = Path(__file__).resolve().parent.parent

# Names of a row's folders, how many bugs it counts, and which.
ROW = re.compile(r"^\| ([^|]*`[^|]*/`[^|]*) \| (\d+) \| ([^|]*) \|$", re.MULTILINE)


class PlantedTest(unittest.TestCase):
    def test_each_edit_changes_a_text_that_stands_once_in_its_file(self) -> None:
        for mutant in PLANTED:
            texts: dict[str, str] = {}
            for edit in mutant.edits:
                with self.subTest(mutant.name, file=edit.file):
                    text = texts.get(edit.file) or (ROOT / edit.file).read_text()
                    self.assertEqual(text.count(edit.old), 1, edit.old)
                    self.assertNotEqual(edit.old, edit.new)
                    texts[edit.file] = text.replace(edit.old, edit.new)

    def test_each_bug_has_a_name_of_its_own(self) -> None:
        names = [mutant.name for mutant in PLANTED]
        self.assertEqual([name for name in set(names) if names.count(name) > 1], [])

    def test_each_check_is_known_and_chooses_a_test_that_exists(self) -> None:
        sources = [path for path in ROOT.glob("*/**/*.rs") if "target" not in path.parts]
        names = set(re.findall(r"\w+", " ".join(path.read_text() for path in sources)))
        for mutant in PLANTED:
            for name in mutant.checks:
                check, _, tests = name.partition(":")
                with self.subTest(mutant.name, check=name):
                    self.assertIn(check, CHECKS)
                    part = tests.rstrip(":").split("::")[-1]
                    self.assertTrue(any(part in other for other in names), f"no test is {part}")

    def test_the_table_counts_and_names_each_bug_where_it_is_planted(self) -> None:
        text = (ROOT / "docs" / "guarantees.md").read_text()
        section = text.split("## Planted bugs")[1].split("\n## ")[0]
        named: list[str] = []
        for where, count, listed in ROW.findall(section):
            names = listed.split("; ")
            self.assertEqual(len(names), int(count), f"the row of {where} counts wrongly")
            named += names
            folders = re.findall(r"`([^`]*/)`", where)
            files = {mutant.name: mutant.edits[0].file for mutant in PLANTED}
            for name in names:
                with self.subTest(name):
                    self.assertIn(name, files, "the table names a bug that is not planted")
                    at = files[name]
                    self.assertTrue(any(at.startswith(folder) for folder in folders), at)
        self.assertEqual(sorted(named), sorted(mutant.name for mutant in PLANTED))


if __name__ == "__main__":
    unittest.main()
