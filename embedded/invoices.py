#!/usr/bin/env python3
"""Has others judge the invoices of a shop's orders, which have to come to what was charged.

  invoices.py ORDERSAGA FOLDER    the program `ordersaga`, and where the documents go

`stack.py invoices` starts a shop and runs the demo for it. Mustang judges by the rules of EN 16931,
factur-x by the schemas of UBL and CII. Each is also given a document of each syntax that is wrong, with
a cent more in its total or with an element of another name, and has to refuse it. JUDGE=factur-x goes
without Mustang, which needs Java and Maven. Ends with 1 if a document is refused, a wrong one is not, or
one does not come to its order's charge.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from account import account_for
from console import Problem, say
from fetch import cache_folder, one_at_a_time
from processes import Signals
from tools import Tools

MUSTANG = "2.26.0"
FACTUR_X = "factur-x==7.8"

# Of so many completed orders the documents are judged; those with a discount come first.
SAMPLE = 12
# The relay issues behind the orders, within moments.
PATIENCE_SECONDS = 60

# The total that the customer pays, in each syntax.
TOTALS = {
    "ubl": re.compile(r'(<cbc:TaxInclusiveAmount currencyID="[A-Z]{3}">)([0-9.]+)(<)'),
    "cii": re.compile(r"(<ram:GrandTotalAmount>)([0-9.]+)(<)"),
}
# An element that every document of the syntax has.
ELEMENTS = {"ubl": "cbc:TaxInclusiveAmount", "cii": "ram:GrandTotalAmount"}


@dataclass(frozen=True)
class Written:
    """A document in one syntax, as the shop has given it out."""

    path: Path
    syntax: str
    kind: str
    # What the order's customer was charged, if it is an invoice.
    charge: Decimal | None


@dataclass(frozen=True)
class Row:
    """What came of it, as the table shows it."""

    who: str
    documents: int
    # What is held against the documents.
    objection: str | None
    # Whether each wrong document was refused.
    caught: bool

    @property
    def is_well(self) -> bool:
        return self.objection is None and self.caught

    def line(self) -> str:
        verdict = "holds" if self.objection is None else "REFUSED"
        return f"{self.who:<10}{self.documents:>10,}  {verdict:<8}  {'caught' if self.caught else 'MISSED'}"


TITLE = f"{'':<10}{'documents':>10}  {'verdict':<8}  a wrong one"


def is_short(judge: str | None) -> bool:
    """Whether Mustang is left out."""
    if judge in (None, "", "mustang"):
        return False
    if judge == "factur-x":
        return True
    raise Problem(f"JUDGE={judge} is nobody: it is mustang, or factur-x to go without Java")


def java() -> str:
    """Known to be missing before anything is built."""
    for program, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            raise Problem(
                f"there is no {program}, which Mustang needs: install it (Debian, Ubuntu: apt-get "
                f"install {package}; macOS: brew install {'openjdk' if program == 'java' else 'maven'}), "
                "or go without Mustang by JUDGE=factur-x"
            )
    return "java"


def mustang() -> Path:
    """Mustang's one file, fetched once by Maven."""
    name = f"Mustang-CLI-{MUSTANG}.jar"
    cache = cache_folder(os.environ, account_for(Path.cwd()))
    with one_at_a_time(cache, Signals()):
        folder = cache / f"mustang-{MUSTANG}"
        if not (folder / name).exists():
            say(f"fetching Mustang {MUSTANG} into {cache}, once")
            with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
                fetched = Path(scratch, "mustang")
                artifact = f"-Dartifact=org.mustangproject:Mustang-CLI:{MUSTANG}"
                command = ["mvn", "-q", "-B", "dependency:copy", artifact]
                command.append(f"-DoutputDirectory={fetched}")
                done = subprocess.run(command, cwd=scratch, stdout=sys.stderr.fileno())
                if done.returncode or not (fetched / name).exists():
                    raise Problem(f"there is no Mustang {MUSTANG}: mvn's message above says why")
                fetched.rename(folder)
        return folder / name


def asked(ordersaga: str, *arguments: str) -> Any:
    """What the shop's API answers an operator."""
    command = [ordersaga, *arguments, "--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Problem(f"`ordersaga {' '.join(arguments)}` failed: its message above says why")
    return json.loads(done.stdout)


def sample(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some of the orders, those with a discount first."""
    return sorted(orders, key=lambda order: order["discount_code"] is None)[:SAMPLE]


def issued(ordersaga: str, order: str, until: float) -> list[dict[str, Any]]:
    """What was issued for an order, once its invoice is."""
    while True:
        documents: list[dict[str, Any]] = asked(ordersaga, "invoice", "list", order)
        if documents:
            return documents
        if time.monotonic() > until:
            raise Problem(
                f"order {order} is completed and has no invoice after {PATIENCE_SECONDS} s: the "
                "relay's log says why"
            )
        time.sleep(0.5)


def written(ordersaga: str, folder: Path) -> list[Written]:
    """The documents of a sample of orders, in both syntaxes."""
    page = asked(ordersaga, "order", "list", "--status", "completed", "--limit", "100")
    if not page["items"]:
        raise Problem("there is no completed order: the demo has to place some first")
    documents = []
    until = time.monotonic() + PATIENCE_SECONDS
    for order in sample(page["items"]):
        name, charge = order["order_id"], Decimal(order["totals"]["total"]["amount"])
        for one in issued(ordersaga, name, until):
            is_sale = one["kind"] == "invoice" and "refund" not in one
            for syntax in TOTALS:
                path = folder / f"{one['number']}-{syntax}.xml"
                wanted = ["--number", one["number"], "--format", syntax, "--to", str(path)]
                if subprocess.run([ordersaga, "invoice", "show", name, *wanted]).returncode:
                    raise Problem(f"{one['number']} cannot be had: the message above says why")
                documents.append(Written(path, syntax, one["kind"], charge if is_sale else None))
    return documents


def total_of(text: str, syntax: str) -> Decimal:
    found = TOTALS[syntax].search(text)
    if found is None:
        raise Problem(f"a document as {syntax} states no total")
    return Decimal(found[2])


def cent_off(text: str, syntax: str) -> str:
    """The document with a cent more in its total."""
    return TOTALS[syntax].sub(
        lambda found: f"{found[1]}{Decimal(found[2]) + Decimal('0.01')}{found[3]}", text, count=1
    )


def misnamed(text: str, syntax: str) -> str:
    """The document with an element that no schema has."""
    return text.replace(ELEMENTS[syntax], f"{ELEMENTS[syntax]}s")


def charged(documents: list[Written]) -> Row:
    """What the shop itself has to say: an invoice comes to the charge."""
    sales = [one for one in documents if one.charge is not None]
    objections = []
    for one in sales:
        total = total_of(one.path.read_text(encoding="utf-8"), one.syntax)
        if total != one.charge:
            objections.append(f"{one.path.name} comes to {total}, and {one.charge} was charged")
    some = sales[0] if sales else None
    caught = some is not None and (
        total_of(cent_off(some.path.read_text(encoding="utf-8"), some.syntax), some.syntax)
        != some.charge
    )
    return Row("charge", len(sales), "\n".join(objections) or None, caught)


def one_of_each(documents: list[Written]) -> list[Written]:
    """A document of each syntax and kind."""
    found = {(one.syntax, one.kind): one for one in documents}
    return list(found.values())


def wrong_ones(documents: list[Written], folder: Path, change: Any) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for one in one_of_each(documents):
        path = folder / one.path.name
        path.write_text(change(one.path.read_text(encoding="utf-8"), one.syntax), encoding="utf-8")
        paths.append(path)
    return paths


def by_mustang(jar: Path, documents: list[Written], good: Path, wrong: Path) -> Row:
    """All documents are valid, and with a cent off none is."""
    wrong_ones(documents, wrong, cent_off)

    def judged(action: str, folder: Path) -> subprocess.CompletedProcess[str]:
        options = ["--disable-file-logging", "--no-notices", "--action", action]
        command = ["java", "-Xmx1g", "-jar", str(jar), *options, "--directory", str(folder)]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder.parent
        )

    valid = judged("validateExpectValid", good)
    seen = valid.stdout.count("Testing file")
    if seen != len(documents):
        raise Problem(f"Mustang looked at {seen} of {len(documents)} documents: {valid.stdout}")
    caught = judged("validateExpectInvalid", wrong).returncode == 0
    return Row("Mustang", seen, valid.stdout if valid.returncode else None, caught)


def by_factur_x(documents: list[Written], wrong: Path) -> Row:
    """All documents are of their schemas, and with an element of another name none is."""
    tools = Tools(FACTUR_X)

    def refusal(path: Path) -> str | None:
        # Its schematron is run by a server of its own, which is not there.
        command = [*tools.script("facturx-xmlcheck"), "--log-level", "error", str(path)]
        done = subprocess.run(
            command, env=tools.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return f"{path.name}: {done.stdout.strip()}" if done.returncode else None

    objections = [said for one in documents if (said := refusal(one.path)) is not None]
    caught = all(refusal(path) is not None for path in wrong_ones(documents, wrong, misnamed))
    return Row("factur-x", len(documents), "\n".join(objections) or None, caught)


def main(arguments: list[str]) -> int:
    ordersaga, folder = arguments[0], Path(arguments[1])
    shutil.rmtree(folder, ignore_errors=True)
    good = folder / "issued"
    good.mkdir(parents=True)
    without_mustang = is_short(os.environ.get("JUDGE"))
    jar = None if without_mustang else mustang()
    say("asking for the documents of some orders")
    documents = written(ordersaga, good)
    rows = [charged(documents)]
    say("asking factur-x")
    rows.append(by_factur_x(documents, folder / "misnamed"))
    if jar is not None:
        say("asking Mustang, which takes a minute")
        rows.append(by_mustang(jar, documents, good, folder / "a-cent-off"))
    for row in rows:
        if row.objection is not None:
            print(f"\n{row.who} has this against the documents:\n{row.objection}")
    print("\n".join(["", TITLE, *(row.line() for row in rows)]))
    return 0 if all(row.is_well for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
