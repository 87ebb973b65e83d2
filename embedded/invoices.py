#!/usr/bin/env python3
"""Has independent programs validate a shop's invoices, whose totals must equal the charges.

  invoices.py ORDERSAGA FOLDER    the program `ordersaga`, and the folder for the documents

`stack.py invoices` starts a shop and runs the demo for it. Then some orders are refunded, one in part,
one completely, and one in two parts, so that there are credit notes. Mustang checks the rules of EN
16931, factur-x the schemas of UBL and CII. Mustang also validates the PDFs, as PDF/A-3 and by their
content, and factur-x extracts their XML, which must be identical to the CII. Each must also reject an
invalid invoice and credit note of each syntax, with a total that is a cent too high or with a misnamed
element. JUDGE=factur-x skips Mustang, which needs Java and Maven. Exits with 1 if a document is rejected,
an invalid one is not, an invoice does not equal its order's charge or a credit note its refund, or there
was no invoice or no credit note to check.
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

# One in this many completed orders is validated; those with a discount come first.
SAMPLE = 12
# The relay issues documents shortly after the orders, and refunds are as quick.
PATIENCE_SECONDS = 60

INVOICE, CREDIT_NOTE = "invoice", "credit-note"

# The total that the customer pays, in each syntax.
TOTALS = {
    "ubl": re.compile(r'(<cbc:TaxInclusiveAmount currencyID="[A-Z]{3}">)([0-9.]+)(<)'),
    "cii": re.compile(r"(<ram:GrandTotalAmount>)([0-9.]+)(<)"),
}
# The PDF embeds the CII.
PDF = "pdf"
ENDINGS = {"ubl": "-ubl.xml", "cii": "-cii.xml", PDF: ".pdf"}
# An element that every document of the syntax has.
ELEMENTS = {"ubl": "cbc:TaxInclusiveAmount", "cii": "ram:GrandTotalAmount"}


# Run with factur-x's packages: replaces the XML embedded in a PDF.
PUT_IN = """
import sys
from pypdf import PdfWriter

source, xml, target = sys.argv[1:]
pdf = PdfWriter(clone_from=source)
[described] = pdf.root_object["/AF"]
with open(xml, "rb") as file:
    described.get_object()["/EF"]["/F"].get_object().set_data(file.read())
pdf.write(target)
"""


@dataclass(frozen=True)
class Written:
    """A document in one syntax or as PDF, as issued by the shop."""

    path: Path
    syntax: str
    kind: str
    # The amount charged by an invoice, or refunded by a credit note.
    sum: Decimal


@dataclass(frozen=True)
class Row:
    """The results of one validator, as a row of the table."""

    who: str
    # The number of documents of each kind that were validated.
    invoices: int
    credit_notes: int
    # The objections to the documents.
    objection: str | None
    # Whether each invalid document was rejected.
    caught: bool

    @classmethod
    def of(cls, who: str, documents: list[Written], objection: str | None, caught: bool) -> Row:
        kinds = [one.kind for one in documents]
        return cls(who, kinds.count(INVOICE), kinds.count(CREDIT_NOTE), objection, caught)

    @property
    def is_well(self) -> bool:
        judged = self.invoices > 0 and self.credit_notes > 0
        return judged and self.objection is None and self.caught

    def line(self) -> str:
        verdict = "holds" if self.objection is None else "REFUSED"
        counts = f"{self.invoices:>10,}{self.credit_notes:>14,}"
        return f"{self.who:<10}{counts}  {verdict:<8}  {'caught' if self.caught else 'MISSED'}"


TITLE = f"{'':<10}{'invoices':>10}{'credit notes':>14}  {'verdict':<8}  a wrong one"


@dataclass(frozen=True)
class GivenBack:
    """A refund of an order: an amount, or a piece of an article."""

    order: str
    name: str
    what: tuple[str, ...]


def is_short(judge: str | None) -> bool:
    """Whether Mustang is skipped."""
    if judge in (None, "", "mustang"):
        return False
    if judge == "factur-x":
        return True
    raise Problem(f"JUDGE={judge} is unknown: use mustang, or factur-x to go without Java")


def java() -> str:
    """Checked before anything is built."""
    for program, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            raise Problem(
                f"there is no {program}, which Mustang needs: install it (Debian, Ubuntu: apt-get "
                f"install {package}; macOS: brew install {'openjdk' if program == 'java' else 'maven'}), "
                "or go without Mustang by JUDGE=factur-x"
            )
    return "java"


def mustang() -> Path:
    """Mustang's jar, fetched once with Maven."""
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
    """The API's answer to an operator."""
    command = [ordersaga, *arguments, "--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Problem(f"`ordersaga {' '.join(arguments)}` failed: its message above says why")
    return json.loads(done.stdout)


def sample(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some of the orders, those with a discount first."""
    return sorted(orders, key=lambda order: order["discount_code"] is None)[:SAMPLE]


def refunds_of(orders: list[dict[str, Any]]) -> list[GivenBack]:
    """The refunds of a sample of orders: a piece of the first, all of the second, and all of the
    third in two parts. The first orders have a discount, whose share is refunded, too."""
    if len(orders) < 3:
        raise Problem(f"{len(orders)} orders are completed, and three are to be given back: raise N")
    part, whole, in_two = orders[:3]
    piece = GivenBack(part["order_id"], "a-piece", ("--line", f"{part['lines'][0]['sku']}=1"))
    total, currency = money_of(in_two["totals"]["total"])
    amounts = (
        (whole, "whole", money_of(whole["totals"]["total"])[0]),
        (in_two, "a-part", Decimal("0.01")),
        (in_two, "the-rest", total - Decimal("0.01")),
    )
    given = [
        GivenBack(order["order_id"], name, ("--amount", f"{amount} {currency}"))
        for order, name, amount in amounts
    ]
    return [piece, *given]


def money_of(money: dict[str, str]) -> tuple[Decimal, str]:
    return Decimal(money["amount"]), money["currency"]


def give_back(ordersaga: str, wanted: GivenBack, until: float) -> None:
    """Makes a refund, and waits until it is completed."""
    command = ["refund", "create", wanted.order, *wanted.what]
    refund = asked(ordersaga, *command, "--reason", "sent back", "--key", wanted.name)
    while refund["state"] != "succeeded":
        if refund["state"] not in ("requested", "pending") or time.monotonic() > until:
            raise Problem(f"refund {refund['number']} of order {wanted.order} is {refund['state']}")
        time.sleep(0.5)
        refund = asked(ordersaga, "refund", "show", wanted.order, str(refund["number"]))


def issued(ordersaga: str, order: str, refunds: int, until: float) -> list[dict[str, Any]]:
    """The documents of an order, once its invoice and a credit note for each refund are issued."""
    while True:
        documents: list[dict[str, Any]] = asked(ordersaga, "invoice", "list", order)
        if len(documents) >= 1 + refunds:
            return documents
        if time.monotonic() > until:
            raise Problem(
                f"order {order} is completed, with refunds: {refunds}, and after {PATIENCE_SECONDS} s "
                f"there are {len(documents)} documents: the relay's log says why"
            )
        time.sleep(0.5)


def sum_of(document: dict[str, Any], charge: Decimal, refunds: list[dict[str, Any]]) -> Decimal:
    """The expected total of a document, by the amounts charged and refunded."""
    if document["kind"] == INVOICE and "refund" not in document:
        return charge
    [refund] = [one for one in refunds if one["number"] == document.get("refund")]
    return money_of(refund["amount"])[0]


def written(ordersaga: str, folder: Path) -> list[Written]:
    """The documents of a sample of orders, in both syntaxes and as PDF, after some refunds."""
    page = asked(ordersaga, "order", "list", "--status", "completed", "--limit", "100")
    orders = sample(page["items"])
    until = time.monotonic() + PATIENCE_SECONDS
    for wanted in refunds_of(orders):
        give_back(ordersaga, wanted, until)
    documents = []
    until = time.monotonic() + PATIENCE_SECONDS
    for order in orders:
        name, charge = order["order_id"], money_of(order["totals"]["total"])[0]
        refunds = asked(ordersaga, "refund", "list", name)
        for one in issued(ordersaga, name, len(refunds), until):
            for syntax, ending in ENDINGS.items():
                path = folder / f"{one['number']}{ending}"
                wanted_as = ["--number", one["number"], "--format", syntax, "--to", str(path)]
                if subprocess.run([ordersaga, "invoice", "show", name, *wanted_as]).returncode:
                    raise Problem(f"{one['number']} cannot be read: the message above says why")
                documents.append(Written(path, syntax, one["kind"], sum_of(one, charge, refunds)))
    return documents


def total_of(text: str, syntax: str) -> Decimal:
    found = TOTALS[syntax].search(text)
    if found is None:
        raise Problem(f"a document as {syntax} states no total")
    return Decimal(found[2])


def cent_off(text: str, syntax: str) -> str:
    """The document with its total a cent too high."""
    return TOTALS[syntax].sub(
        lambda found: f"{found[1]}{Decimal(found[2]) + Decimal('0.01')}{found[3]}", text, count=1
    )


def misnamed(text: str, syntax: str) -> str:
    """The document with an element that no schema allows."""
    return text.replace(ELEMENTS[syntax], f"{ELEMENTS[syntax]}s")


def by_the_shop(documents: list[Written]) -> Row:
    """The shop's own check: an invoice equals the charge, and a credit note the refund."""
    texts = [
        (one, one.path.read_text(encoding="utf-8")) for one in documents if one.syntax in TOTALS
    ]
    objections = []
    for one, text in texts:
        total = total_of(text, one.syntax)
        if total != one.sum:
            objections.append(f"{one.path.name} comes to {total}, and has to come to {one.sum}")
    caught = all(total_of(cent_off(text, one.syntax), one.syntax) != one.sum for one, text in texts)
    return Row.of("the shop", [one for one, _ in texts], "\n".join(objections) or None, caught)


def one_of_each(documents: list[Written]) -> list[Written]:
    """One document of each syntax and kind."""
    found = {(one.syntax, one.kind): one for one in documents}
    return list(found.values())


def wrong_ones(documents: list[Written], folder: Path, change: Any) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for one in one_of_each(documents):
        if one.syntax in TOTALS:
            path = folder / one.path.name
            path.write_text(change(one.path.read_text(encoding="utf-8"), one.syntax), encoding="utf-8")
            paths.append(path)
    return paths


def cii_of(pdf: Written) -> str:
    """The CII file of a document that is a PDF."""
    return pdf.path.name.removesuffix(ENDINGS[PDF]) + ENDINGS["cii"]


def put_in(tools: Tools, documents: list[Written], source: Path, folder: Path) -> list[Path]:
    """One PDF of each kind with the embedded CII of `source`."""
    paths = []
    for one in one_of_each(documents):
        if one.syntax == PDF:
            path = folder / f"put-in-{one.path.name}"
            command = [sys.executable, "-c", PUT_IN, str(one.path), str(source / cii_of(one)), str(path)]
            if not tools.passes(command, folder):
                raise Problem(f"pypdf cannot embed the XML into {one.path.name}: its message above says why")
            paths.append(path)
    return paths


def apart(folder: Path) -> list[Path]:
    """Copies the documents to one folder per syntax. Mustang treats everything after a UBL in the
    same run as UBL."""
    folders = []
    for form, ending in ENDINGS.items():
        of_form = folder.with_name(f"{folder.name}-{form}")
        of_form.mkdir()
        for path in folder.glob(f"*{ending}"):
            shutil.copy(path, of_form)
        folders.append(of_form)
    return folders


def by_mustang(jar: Path, tools: Tools, documents: list[Written], good: Path, wrong: Path) -> Row:
    """All documents are valid, and none is with its total a cent off. A PDF with its own CII
    embedded again is valid, too, so one with a cent off is rejected because of the cent."""
    wrong_ones(documents, wrong, cent_off)
    put_in(tools, documents, wrong, wrong)
    unchanged = put_in(tools, documents, good, good)

    def judged(action: str, folder: Path) -> subprocess.CompletedProcess[str]:
        options = ["--disable-file-logging", "--no-notices", "--action", action]
        command = ["java", "-Xmx1g", "-jar", str(jar), *options, "--directory", str(folder)]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder.parent
        )

    valid = [judged("validateExpectValid", folder) for folder in apart(good)]
    said = "\n".join(one.stdout for one in valid)
    seen, wanted = said.count("Testing file"), len(documents) + len(unchanged)
    if seen != wanted:
        raise Problem(f"Mustang looked at {seen} of {wanted} documents: {said}")
    objection = said if any(one.returncode for one in valid) else None
    caught = all(judged("validateExpectInvalid", folder).returncode == 0 for folder in apart(wrong))
    return Row.of("Mustang", documents, objection, caught)


def by_factur_x(tools: Tools, documents: list[Written], good: Path, wrong: Path) -> Row:
    """All documents conform to their schemas, and none does with a misnamed element; and each PDF
    embeds its own CII, and no other."""

    def refusal(path: Path) -> str | None:
        # Its schematron check needs a server, which is not available.
        command = [*tools.script("facturx-xmlcheck"), "--log-level", "error", str(path)]
        done = subprocess.run(
            command, env=tools.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return f"{path.name}: {done.stdout.strip()}" if done.returncode else None

    def has_in_it(pdf: Path, cii: Path) -> bool:
        taken_out = wrong / "taken-out"
        taken_out.unlink(missing_ok=True)
        options = ["--disable-xsd-check", "--disable-schematron-check", "--log-level", "error"]
        command = [*tools.script("facturx-pdfextractxml"), *options, str(pdf), str(taken_out)]
        return tools.passes(command, wrong) and taken_out.read_bytes() == cii.read_bytes()

    def objection(one: Written) -> str | None:
        if one.syntax != PDF:
            return refusal(one.path)
        cii = good / cii_of(one)
        return None if has_in_it(one.path, cii) else f"{one.path.name} has not {cii.name} in it"

    wrong_xml = wrong_ones(documents, wrong, misnamed)
    pdfs = [one for one in one_of_each(documents) if one.syntax == PDF]
    wrong_pdfs = zip(put_in(tools, pdfs, wrong, wrong), pdfs)
    objections = [said for one in documents if (said := objection(one)) is not None]
    caught = all(refusal(path) is not None for path in wrong_xml) and not any(
        has_in_it(path, good / cii_of(one)) for path, one in wrong_pdfs
    )
    return Row.of("factur-x", documents, "\n".join(objections) or None, caught)


def main(arguments: list[str]) -> int:
    ordersaga, folder = arguments[0], Path(arguments[1])
    shutil.rmtree(folder, ignore_errors=True)
    good = folder / "issued"
    good.mkdir(parents=True)
    without_mustang = is_short(os.environ.get("JUDGE"))
    jar = None if without_mustang else mustang()
    say("giving some orders back, and asking for the documents")
    documents = written(ordersaga, good)
    rows = [by_the_shop(documents)]
    tools = Tools(FACTUR_X)
    say("asking factur-x")
    rows.append(by_factur_x(tools, documents, good, folder / "misnamed"))
    if jar is not None:
        say("asking Mustang, which takes a minute")
        rows.append(by_mustang(jar, tools, documents, good, folder / "a-cent-off"))
    for row in rows:
        if row.objection is not None:
            print(f"\n{row.who} rejects the documents:\n{row.objection}")
    print("\n".join(["", TITLE, *(row.line() for row in rows)]))
    return 0 if all(row.is_well for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
