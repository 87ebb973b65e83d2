#!/usr/bin/env python3
"""Compares .sqlx, which every build checks queries against, with a database.

  queries.py URL     the owner's URL of a database with all migrations

The database describes the names and types of each query's columns, and the types of its parameters.
That takes seconds, whereas `make queries` compiles every crate with queries. It does not detect a
column that has become nullable, nor a query missing in .sqlx, for which the build fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from account import account_for
from console import Problem, say
from fetch import cache_folder, one_at_a_time, postgres_programs
from processes import Signals

REPO = Path(__file__).resolve().parent.parent
ANSWERS = REPO / ".sqlx"

# sqlx's names of types, and Postgres' names.
TYPES = {
    "Bool": "boolean",
    "Bpchar": "character",
    "Bytea": "bytea",
    "Date": "date",
    "Float8": "double precision",
    "Int2": "smallint",
    "Int4": "integer",
    "Int8": "bigint",
    "Interval": "interval",
    "Jsonb": "jsonb",
    "Name": "name",
    "Numeric": "numeric",
    "Text": "text",
    "Timestamptz": "timestamp with time zone",
    "Uuid": "uuid",
    "Void": "void",
}
# Statements that can be prepared. Others have no columns.
PREPARED = ("select", "insert", "update", "delete", "with", "merge", "values")


@dataclass(frozen=True)
class Answer:
    """The recorded description of a query, or the database's."""

    columns: tuple[tuple[str, str], ...]
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns) or "no columns"
        return f"({', '.join(self.parameters)}) → {columns}"


def postgres_type(name: Any) -> str:
    """**Raises** `Problem` for an unknown type."""
    if isinstance(name, str):
        if name in TYPES:
            return TYPES[name]
        if name.endswith("Array") and name[:-5] in TYPES:
            return f"{TYPES[name[:-5]]}[]"
    raise Problem(f"embedded/queries.py does not know the type {name}: add it to TYPES")


def kept(file: Path) -> tuple[str, Answer]:
    record = json.loads(file.read_text())
    described = record["describe"]
    columns = tuple((c["name"], postgres_type(c["type_info"])) for c in described["columns"])
    parameters = tuple(map(postgres_type, described["parameters"].get("Left", [])))
    return str(record["query"]), Answer(columns, parameters)


def can_be_prepared(query: str) -> bool:
    return query.split(maxsplit=1)[0].lower() in PREPARED


def script(queries: list[str]) -> str:
    """A psql script that prints each query's columns after a line with its number; then all
    parameters."""
    lines = [r"\set ON_ERROR_STOP off", r"\pset format unaligned", r"\pset tuples_only on"]
    for number, query in enumerate(queries):
        # A query may end in a comment, and none ends in a semicolon.
        lines += [rf"\echo query {number}", query.rstrip().rstrip(";"), r"\gdesc"]
        lines.append(f"prepare q{number} as {query.rstrip().rstrip(';')}\n;")
    lines.append(r"\echo parameters")
    lines.append(
        "select name, coalesce(json_agg(p.of::regtype::text order by p.nth) "
        "filter (where p.of is not null), '[]') from pg_prepared_statements "
        "left join unnest(parameter_types) with ordinality as p(of, nth) on true group by name;"
    )
    return "\n".join([*lines, ""])


def answers(said: str, count: int) -> list[Answer | None]:
    """Parses psql's output; omits queries that the database rejects."""
    described: dict[int, list[tuple[str, str]]] = {}
    parameters: dict[int, tuple[str, ...]] = {}
    number: int | None = None
    for line in said.splitlines():
        if line.startswith("query "):
            number = int(line.split()[1])
            described[number] = []
        elif line == "parameters":
            number = None
        elif number is not None and "|" in line:
            name, _, kind = line.rpartition("|")
            described[number].append((name, bare(kind)))
        elif number is None and line.startswith("q") and "|" in line:
            name, _, kinds = line.partition("|")
            parameters[int(name[1:])] = tuple(json.loads(kinds))
    return [
        Answer(tuple(described.get(n, ())), parameters[n]) if n in parameters else None
        for n in range(count)
    ]


def bare(kind: str) -> str:
    """`character` for `character(3)` and `bpchar`, and `numeric[]` for `numeric(19,4)[]`."""
    name, _, rest = kind.partition("(")
    name = f"{name}[]" if rest.endswith("[]") else name
    return name.replace("bpchar", "character")


def disagreements(psql: str, url: str, files: list[Path]) -> list[str]:
    on_record = {file: kept(file) for file in files}
    asked = [(file, *pair) for file, pair in on_record.items() if can_be_prepared(pair[0])]
    done = subprocess.run(
        [psql, "--no-psqlrc", "--quiet", "--dbname", url],
        input=script([query for _, query, _ in asked]),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise Problem(f"the database cannot be asked: {done.stderr.strip().splitlines()[-1:]}")
    wrong = []
    for (file, query, known), found in zip(asked, answers(done.stdout, len(asked))):
        shown = " ".join(query.split())[:100]
        if found is None:
            wrong.append(f"{file.name}: the database refuses `{shown}`")
        elif found != known:
            wrong.append(f"{file.name}: `{shown}` is {found}, and on record {known}")
    return wrong


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    account = account_for(REPO)
    signals = Signals()
    cache = cache_folder(os.environ, account)
    with one_at_a_time(cache, signals):
        psql = str(postgres_programs(cache, account, signals) / "psql")
    files = sorted(ANSWERS.glob("query-*.json"))
    if not files:
        raise Problem(f"there are no answers in {ANSWERS}: run `make queries`")
    wrong = disagreements(psql, arguments[0], files)
    for line in wrong:
        say(line)
    if wrong:
        say("run `make queries`, and commit .sqlx")
    else:
        say(f"the answers to {len(files)} queries agree with the schema")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
