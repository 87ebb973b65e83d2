"""What schema.sql does when a step is carried out again, and that the counts see it.

Run by `make test`, which gives MIGRATE_DATABASE_URL, and TEMPLATE_DATABASE_URL where the template
has the shop's own tables.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import unittest
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "embedded"))

from account import account_for
from console import Problem
from fetch import cache_folder, one_at_a_time, postgres_programs
from peers import psql
from processes import Signals

STEPS = ("open", "reserve", "charge", "post", "ship", "recognise")
LINES = [{"sku": "22752", "quantity": 2}, {"sku": "85123A", "quantity": 6}]
PLACED = json.dumps({"customer": "17850", "country": "GB", "lines": LINES, "total": "31.30"})


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.server = os.environ["MIGRATE_DATABASE_URL"]
        account = account_for(Path.cwd())
        cache, signals = cache_folder(os.environ, account), Signals()
        with one_at_a_time(cache, signals):
            self.programs = postgres_programs(cache, account, signals)
        name = f"peers_{secrets.token_hex(8)}"
        psql(self.programs, self.server, "--command", f"create database {name}")
        self.addCleanup(psql, self.programs, self.server, "--command", f"drop database {name}")
        self.url = urlunsplit(urlsplit(self.server)._replace(path=f"/{name}"))

    def psql(self, *what: str) -> str:
        return psql(self.programs, self.url, *what)


class PeersCountsTest(Case):
    def setUp(self) -> None:
        super().setUp()
        self.psql("--file", str(HERE / "schema.sql"))
        self.order = str(uuid.uuid4())
        articles = ", ".join(f"('{line['sku']}', 100)" for line in LINES)
        self.psql("--command", f"insert into peer.stock (sku, on_hand) values {articles}")

    def do(self, step: str, repeats: str = "act") -> None:
        placed = f"'{PLACED}', " if step == "open" else ""
        self.psql("--command", f"select peer.{step}('{self.order}', {placed}'{repeats}')")

    def undo(self, name: str) -> None:
        self.psql("--command", f"select peer.{name}('{self.order}')")

    def carry_out(self, repeats: str = "act") -> None:
        for step in STEPS:
            self.do(step, repeats)

    def counts(self) -> dict[str, int]:
        return json.loads(self.psql("--file", str(HERE / "counts.sql")))

    def stock(self) -> str:
        return self.psql("--command", "select on_hand, reserved, sold from peer.stock order by sku")

    def test_an_order_that_goes_well_is_finished_and_nothing_else(self) -> None:
        self.carry_out()
        counts = self.counts()
        self.assertEqual((counts.pop("orders"), counts.pop("finished")), (1, 1))
        self.assertEqual(set(counts.values()), {0}, counts)
        self.assertEqual(self.stock(), "98|0|2\n94|0|6")

    def test_every_step_that_has_its_effect_again_is_seen(self) -> None:
        for again in STEPS:
            with self.subTest(again):
                self.order = str(uuid.uuid4())
                before = self.counts()["twice"]
                for step in STEPS:
                    self.do(step)
                    if step == again:
                        self.do(step)
                counts = self.counts()
                self.assertEqual(counts["twice"], before + 1)
        self.assertEqual(counts["paid_twice"], 1)

    def test_a_step_that_is_to_skip_repeats_does_nothing_again(self) -> None:
        for step in STEPS:
            self.do(step, "skip")
            self.do(step, "skip")
        counts = self.counts()
        self.assertEqual((counts["finished"], counts["twice"]), (1, 0))
        self.assertEqual(self.stock(), "98|0|2\n94|0|6")

    def test_a_step_that_is_to_fail_at_repeats_is_refused_by_a_key(self) -> None:
        for step in STEPS:
            self.do(step, "fail")
            with self.assertRaisesRegex(Problem, "steps_once"):
                self.do(step, "fail")

    def test_an_order_that_was_undone_is_unwound_and_leaves_nothing(self) -> None:
        for step in STEPS[:4]:
            self.do(step)
        for name in ("reverse", "refund", "release", "fail"):
            self.undo(name)
        counts = self.counts()
        self.assertEqual((counts["unwound"], counts["shipped_and_refunded"]), (1, 0))
        self.assertEqual(self.stock(), "100|0|0\n100|0|0")
        balances = """
            select count(*) from (
                select from peer.entries group by account
                having sum(case side when 'debit' then amount else -amount end) <> 0
            ) as unsettled
        """
        self.assertEqual(self.psql("--command", balances), "0")

    def test_an_order_that_is_undone_after_it_was_shipped_is_seen(self) -> None:
        for step in STEPS[:5]:
            self.do(step)
        self.undo("refund")
        self.undo("fail")
        self.assertEqual(self.counts()["shipped_and_refunded"], 1)

    def test_an_order_that_stands_still_or_was_accepted_in_vain_has_never_ended(self) -> None:
        self.do("open")
        nowhere = str(uuid.uuid4())
        ids = f"('{self.order}'), ('{self.order}'), ('{nowhere}')"
        self.psql("--command", f"insert into peer.accepted values {ids}")
        counts = self.counts()
        self.assertEqual((counts["orders"], counts["never_ended"]), (2, 2))
        self.assertEqual(counts["accepted_and_never_begun"], 1)

    def test_goods_that_are_not_there_are_refused(self) -> None:
        self.psql("--command", "update peer.stock set on_hand = 1")
        self.do("open")
        with self.assertRaisesRegex(Problem, "out of stock"):
            self.do("reserve")

    def test_books_out_of_balance_are_refused(self) -> None:
        with self.assertRaisesRegex(Problem, "out of balance"):
            self.psql(
                "--command",
                f"insert into peer.transactions (order_id, what) values ('{self.order}', 'sale')",
            )


@unittest.skipUnless("TEMPLATE_DATABASE_URL" in os.environ, "the template is not the shop's")
class OrdersagaCountsTest(Case):
    def test_an_order_that_was_accepted_and_is_nowhere_is_seen(self) -> None:
        nowhere = f"accepted={{{uuid.uuid4()}}}"
        told = self.psql("--set", nowhere, "--file", str(HERE / "ordersaga-counts.sql"))
        counts = json.loads(told)
        self.assertEqual((counts["orders"], counts["never_ended"], counts["finished"]), (1, 1, 0))


if __name__ == "__main__":
    unittest.main()
