"""Tests of reading .sqlx and comparing it with a database.

Run with: python3 -m unittest discover embedded
"""

from __future__ import annotations

import json
import tempfile
import unittest
from pathlib import Path

import queries
from console import Problem
from queries import Answer


class AnswersTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def answer(self, name: str, query: str, columns: list[tuple[str, str]], *parameters: str) -> Path:
        file = self.folder / f"query-{name}.json"
        described = {
            "columns": [{"name": name, "type_info": kind} for name, kind in columns],
            "parameters": {"Left": list(parameters)},
        }
        file.write_text(json.dumps({"query": query, "describe": described}))
        return file

    def psql(self, says: str) -> str:
        program = self.folder / "psql"
        program.write_text(f"#!/bin/sh\ncat > /dev/null\ncat <<'END'\n{says}END\n")
        program.chmod(0o755)
        return str(program)

    def test_every_answer_on_record_is_understood(self) -> None:
        files = list(queries.ANSWERS.glob("query-*.json"))
        self.assertGreater(len(files), 0)
        for file in files:
            queries.kept(file)

    def test_what_agrees_is_passed_over_and_what_does_not_is_named(self) -> None:
        files = [
            self.answer("a", "select total, currency from orders", [("total", "Numeric"), ("currency", "Bpchar")]),
            self.answer("b", "select tags from orders where id = $1", [("tags", "TextArray")], "Uuid"),
            self.answer("c", "select gone from orders", [("gone", "Text")]),
            self.answer("d", "alter role x set y", []),
        ]
        says = (
            "query 0\ntotal|numeric(19,4)\ncurrency|character(3)\nquery 1\ntags|text[]\nquery 2\n"
            'parameters\nq0|[]\nq1|["bigint"]\n'
        )
        wrong = queries.disagreements(self.psql(says), "postgres://…", files)
        self.assertEqual(len(wrong), 2)
        self.assertIn("query-b.json", wrong[0])
        self.assertIn("(bigint) → tags text[], and on record (uuid)", wrong[0])
        self.assertIn("query-c.json: the database refuses `select gone from orders`", wrong[1])

    def test_a_type_that_is_not_known_is_named(self) -> None:
        with self.assertRaisesRegex(Problem, "TYPES"):
            queries.postgres_type({"Custom": {"name": "mood", "kind": "Simple"}})

    def test_lengths_are_no_difference(self) -> None:
        for said, bare in (("character(3)", "character"), ("numeric(19,4)[]", "numeric[]"), ("bpchar", "character")):
            self.assertEqual(queries.bare(said), bare)

    def test_parameters_keep_their_order(self) -> None:
        found = queries.answers('query 0\na|text\nparameters\nq0|["text", "uuid"]\n', 1)
        self.assertEqual(found, [Answer((("a", "text"),), ("text", "uuid"))])


if __name__ == "__main__":
    unittest.main()
