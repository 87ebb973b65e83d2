"""Whatever comes twice, late or after a crash: each event takes effect once.

Where the launcher has started a Kafka (ORDERSAGA_TEST_KAFKA) and confluent-kafka is there, the same
is shown through the broker; else it is said why not.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import inbox

PROGRAM = Path(inbox.__file__)
ORDERS = [str(uuid.UUID(int=number)) for number in (1, 2)]


def booked(side: str, amount: str) -> dict[str, Any]:
    other = "credit" if side == "debit" else "debit"
    money = {"amount": amount, "currency": "GBP"}
    return {
        "entries": [
            {"account": "payment-clearing", "side": side, "amount": money},
            {"account": "customer-deposits", "side": other, "amount": money},
        ]
    }


# An order's life as far as it counts here: 24.30 come in, and 4.30 go out.
LIFE = [
    ("order.placed", {"ship_to": {"country": "GB"}}),
    ("stock.reserved", {}),
    ("ledger.posted", booked("debit", "24.30")),
    ("ledger.refund-posted", booked("credit", "4.30")),
]


def message(order: str, sequence: int) -> tuple[dict[str, str], bytes]:
    kind, data = LIFE[sequence - 1]
    headers = {
        "ce_specversion": "1.0",
        "ce_id": f"{order}:{sequence}",
        "ce_source": "urn:ordersaga",
        "ce_type": f"ordersaga.{kind}.v1",
        "ce_subject": order,
        "content-type": "application/json",
    }
    return headers, json.dumps(data).encode()


class Inbox(unittest.TestCase):
    """A consumer's database, and what is in it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "takings.db"
        self.db = inbox.opened(self.path)
        self.addCleanup(lambda: self.db.close())

    def takes(self, order: str, sequence: int) -> bool:
        return bool(inbox.handle(self.db, *message(order, sequence)))

    def taken(self) -> list[str]:
        rows = self.db.execute("select order_id, sequence from inbox order by rowid")
        return [f"{order}:{sequence}" for order, sequence in rows]

    def takings(self) -> list[tuple[str, str, str]]:
        return list(self.db.execute("select country, currency, amount from takings"))


class Messages(Inbox):
    def test_a_repeat_takes_no_effect(self) -> None:
        order = ORDERS[0]
        for sequence in (1, 2, 3, 4):
            self.assertTrue(self.takes(order, sequence))
        self.assertEqual(self.takings(), [("GB", "GBP", "20.00")])
        # As after a crash: from some message on, all come again.
        for sequence in (3, 4, 1, 2, 3, 4):
            self.assertFalse(self.takes(order, sequence))
        self.assertEqual(self.takings(), [("GB", "GBP", "20.00")])
        self.assertEqual(self.taken(), [f"{order}:{sequence}" for sequence in (1, 2, 3, 4)])

    def test_orders_are_told_in_any_mixture(self) -> None:
        for order, sequence in [(0, 1), (1, 1), (1, 2), (0, 2), (0, 1), (1, 3), (0, 3), (1, 3)]:
            self.takes(ORDERS[order], sequence)
        self.assertEqual(self.takings(), [("GB", "GBP", "48.60")])

    def test_what_comes_before_an_earlier_one_is_refused_and_taken_once_that_is_there(self) -> None:
        order = ORDERS[0]
        self.takes(order, 1)
        with self.assertRaises(inbox.Gap):
            self.takes(order, 3)
        self.assertEqual(self.takings(), [])
        self.assertTrue(self.takes(order, 2))
        self.assertTrue(self.takes(order, 3))
        self.assertEqual(self.takings(), [("GB", "GBP", "24.30")])

    def test_a_crash_between_effect_and_commit_leaves_neither(self) -> None:
        order = ORDERS[0]
        self.takes(order, 1)
        self.takes(order, 2)
        crashed = os.fork()
        if crashed == 0:
            took_effect = inbox.take_effect

            def crash(*arguments: Any) -> None:
                took_effect(*arguments)
                os._exit(9)

            inbox.take_effect = crash
            inbox.handle(inbox.opened(self.path), *message(order, 3))
            os._exit(0)
        _, status = os.waitpid(crashed, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 9)
        self.assertEqual((len(self.taken()), self.takings()), (2, []))
        self.assertTrue(self.takes(order, 3))
        self.assertFalse(self.takes(order, 3))
        self.assertEqual(self.takings(), [("GB", "GBP", "24.30")])

    def test_a_type_of_a_later_release_changes_nothing(self) -> None:
        headers, payload = message(ORDERS[0], 1)
        self.assertTrue(inbox.handle(self.db, headers, payload))
        later = {**headers, "ce_id": f"{ORDERS[0]}:2", "ce_type": "ordersaga.order.blessed.v1"}
        self.assertTrue(inbox.handle(self.db, later, b'{"by":"Ada"}'))
        self.assertEqual(self.takings(), [])


BROKER = os.environ.get("ORDERSAGA_TEST_KAFKA")


def missing() -> str | None:
    """Why nothing can be shown through a broker."""
    if not BROKER:
        return "ORDERSAGA_TEST_KAFKA names none"
    try:
        import confluent_kafka  # noqa: F401
    except ImportError as error:
        return f"confluent-kafka cannot be used ({error})"
    return None


class ThroughKafka(Inbox):
    def setUp(self) -> None:
        if why := missing():
            print(f"inbox.py: NOT RUN through a broker: {why}", file=sys.stderr)
            self.skipTest(why)
        super().setUp()

    def produce(self, topic: str, told: Iterable[tuple[str, int]]) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": BROKER, "enable.idempotence": True})
        for order, sequence in told:
            headers, payload = message(order, sequence)
            producer.produce(topic, payload, key=order, headers=list(headers.items()))
        self.assertEqual(producer.flush(60), 0)

    def test_a_consumer_that_is_killed_goes_on_where_it_was(self) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        topic = f"inbox-{uuid.uuid4()}"
        admin = AdminClient({"bootstrap.servers": BROKER})
        for made in admin.create_topics([NewTopic(topic, 1, 1)]).values():
            made.result(60)
        self.produce(topic, [(order, n) for n in (1, 2) for order in ORDERS])
        self.killed_once_it_has_taken(topic, 4)
        again = [(order, n) for order in ORDERS for n in (1, 2)]
        self.produce(topic, again + [(order, n) for n in (3, 4) for order in ORDERS])
        self.killed_once_it_has_taken(topic, 8)
        self.assertEqual(self.takings(), [("GB", "GBP", "40.00")])
        self.assertEqual(len(set(self.taken())), len(self.taken()))

    def killed_once_it_has_taken(self, topic: str, events: int) -> None:
        command = [sys.executable, str(PROGRAM), "run", str(BROKER), topic]
        env = {**os.environ, "INBOX_DATABASE": str(self.path)}
        consumer = subprocess.Popen(command, env=env)
        while len(self.taken()) < events:
            self.assertIsNone(consumer.poll(), "the consumer has ended")
        consumer.send_signal(signal.SIGKILL)
        consumer.wait()


if __name__ == "__main__":
    unittest.main()
