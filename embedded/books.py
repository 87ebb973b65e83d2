#!/usr/bin/env python3
"""Has hledger and beancount check a shop's books, and compares the results with `prove`.

  books.py ORDERSAGA FOLDER    the program `ordersaga`, and the folder for the exported books

`stack.py books` starts a shop and runs the demo for it. Both programs must also reject the books
with one entry a cent too high, and with a cent moved from one account to another. Exits with 1 if
one does not, or if the results differ.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from console import Problem, say
from fetch import version_of
from tools import Tools

BEANCOUNT = "beancount==3.2.3"
# The oldest tested version.
HLEDGER_AT_LEAST = (1, 25)

# An entry: an account, an amount and its currency, with nothing after it. No balance looks like
# that.
ENTRY = re.compile(r"( +[A-Z]\S+ +)(-?[0-9.]+)( [A-Z]{3})")
TRANSACTION = re.compile(r'^\d{4}-\d\d-\d\d \* [("]', re.MULTILINE)
PROVEN = re.compile(r"^I1 .*?\(([0-9,]+)\s+transactions\)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Checker:
    """An independent program that checks books, named by its format in `ordersaga export`."""

    name: str
    # Called with the file's path appended.
    command: list[str]
    env: Mapping[str, str]

    def refusal(self, books: Path) -> str | None:
        """The program's objection to these books, if any."""
        done = subprocess.run(
            [*self.command, str(books)],
            env=dict(self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        said = done.stdout.strip()
        if done.returncode not in (0, 1):
            raise Problem(f"{self.name} ended with code {done.returncode} and said: {said}")
        return (said or "it says nothing") if done.returncode else None


@dataclass(frozen=True)
class Row:
    """The results for one program, as a row of the table."""

    who: str
    transactions: int
    # Why it does not accept the books.
    objection: str | None
    # Whether each change was detected; empty if nothing was changed.
    caught: tuple[bool, ...] = ()

    @property
    def is_well(self) -> bool:
        return self.objection is None and all(self.caught)

    def line(self) -> str:
        verdict = "holds" if self.objection is None else "REFUSED"
        caught = "".join(f"  {'caught' if one else 'MISSED':<12}" for one in self.caught)
        return f"{self.who:<10}{self.transactions:>13,}  {verdict:<8}{caught}".rstrip()


TITLE = f"{'':<10}{'transactions':>13}  {'verdict':<8}  {'a cent off':<12}  a cent moved"


def hledger() -> Path:
    named = os.environ.get("HLEDGER", "hledger")
    found = shutil.which(named)
    if found is None:
        raise Problem(
            "there is no hledger: install it (Debian, Ubuntu: apt-get install hledger; macOS: "
            "brew install hledger; else https://hledger.org), or name its program in HLEDGER"
        )
    version = version_of(Path(found))
    if version < HLEDGER_AT_LEAST:
        told = ".".join(map(str, version)) or "a program without a version number"
        wanted = ".".join(map(str, HLEDGER_AT_LEAST))
        raise Problem(f"{found} is hledger {told}: {wanted} or later is wanted, in HLEDGER or PATH")
    return Path(found)


def checkers() -> list[Checker]:
    # Without this locale, hledger cannot read characters beyond ASCII.
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    journal = [str(hledger()), "check", "--strict", "--file"]
    tools = Tools(BEANCOUNT)
    return [
        Checker("hledger", journal, env),
        Checker("beancount", [*tools.script("bean-check"), "--no-cache"], tools.env()),
    ]


def more(amount: str, units: int) -> str:
    """The amount plus this many units of a cent, or of its last digit."""
    number = Decimal(amount)
    unit = Decimal(1).scaleb(int(number.as_tuple().exponent))
    return f"{number + units * unit:f}"


def with_cents(line: str, units: int) -> str:
    entry = ENTRY.fullmatch(line)
    assert entry is not None, line
    return entry[1] + more(entry[2], units) + entry[3]


def cent_off(books: str) -> str:
    """The books with one entry a cent too high, so that its transaction does not balance."""
    lines = books.splitlines()
    entries = [number for number, line in enumerate(lines) if ENTRY.fullmatch(line)]
    if not entries:
        raise Problem("the books have no entry to change: place some orders first")
    changed = entries[len(entries) // 2]
    lines[changed] = with_cents(lines[changed], 1)
    return "\n".join(lines) + "\n"


def cent_moved(books: str) -> str:
    """The books with one entry a cent too high and the next, on another account, a cent too low.

    Every transaction balances. Only the balances of the two accounts show the change.
    """
    lines = books.splitlines()
    pairs = [
        number
        for number, both in enumerate(zip(lines, lines[1:]))
        if (one := ENTRY.fullmatch(both[0]))
        and (other := ENTRY.fullmatch(both[1]))
        and one[3] == other[3]
        and one[1].split() != other[1].split()
    ]
    if not pairs:
        raise Problem("the books have no two entries to change: place some orders first")
    first = pairs[len(pairs) // 2]
    lines[first : first + 2] = [with_cents(lines[first], 1), with_cents(lines[first + 1], -1)]
    return "\n".join(lines) + "\n"


def judged(checker: Checker, books: Path) -> Row:
    """Checks the books and their changed versions."""
    text = books.read_text(encoding="utf-8")
    caught = []
    for changed, change in (("off", cent_off), ("moved", cent_moved)):
        copy = books.with_name(f"{books.name}.{changed}")
        copy.write_text(change(text), encoding="utf-8")
        caught.append(checker.refusal(copy) is not None)
    transactions = len(TRANSACTION.findall(text))
    return Row(checker.name, transactions, checker.refusal(books), tuple(caught))


def export(ordersaga: str, checker: Checker, folder: Path) -> Path:
    books = folder / f"books.{checker.name}"
    wanted = ["export", "--format", checker.name, "--output", str(books)]
    # Its output is this program's progress.
    if subprocess.run([ordersaga, *wanted], stdout=sys.stderr.fileno()).returncode:
        raise Problem(f"`ordersaga {' '.join(wanted)}` failed: its message above says why")
    return books


def proven(ordersaga: str) -> Row:
    """The number of transactions according to `ordersaga prove`."""
    wanted = [ordersaga, "prove", "--without-temporal"]
    done = subprocess.run(wanted, stdout=subprocess.PIPE, text=True)
    counted = PROVEN.search(done.stdout)
    if done.returncode not in (0, 1) or counted is None:
        raise Problem("`ordersaga prove` looked at no transaction: its message above says why")
    transactions = int(counted[1].replace(",", ""))
    return Row("prove", transactions, done.stdout if done.returncode else None)


def agree(rows: list[Row]) -> bool:
    """Whether all accept the same books, and reject changed ones."""
    return all(row.is_well for row in rows) and len({row.transactions for row in rows}) == 1


def main(arguments: list[str]) -> int:
    ordersaga, folder = arguments[0], Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    rows = [proven(ordersaga)]
    for checker in checkers():
        say(f"asking {checker.name}")
        rows.append(judged(checker, export(ordersaga, checker, folder)))
    for row in rows:
        if row.objection is not None:
            print(f"\n{row.who} rejects the books:\n{row.objection}")
    print("\n".join(["", TITLE, *(row.line() for row in rows)]))
    if agree(rows):
        return 0
    print("\nThe results differ, or one of the programs missed a changed cent.")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
