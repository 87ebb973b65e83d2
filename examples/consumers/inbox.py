#!/usr/bin/env python3
"""A consumer that takes effect of each event once: what the shop has taken in, country by country.

  pip install confluent-kafka
  inbox.py run    KAFKA TOPIC   reads the topic, from its beginning the first time
  inbox.py show                 what was taken in, by country
  inbox.py taken                the ids of the events it took effect of, for `ordersaga prove --inbox`

Its database is the file takings.db, or INBOX_DATABASE. The event's number goes into it in the same
transaction as the effect, so a crash keeps both or neither, and a repeat finds the number.
"""

import json
import os
import sqlite3
import sys
from decimal import Decimal

NAME = "takings"


class Gap(Exception):
    """An event is missing before this one: nothing after it may be taken."""


def opened(path):
    db = sqlite3.connect(path)
    db.executescript(
        """
        create table if not exists inbox (
            consumer text, order_id text, sequence integer,
            primary key (consumer, order_id, sequence)
        );
        create table if not exists countries (order_id text primary key, country text not null);
        create table if not exists takings (
            country text, currency text, amount text not null, primary key (country, currency)
        );
        """
    )
    return db


def handle(db, headers, payload):
    """Takes one message; whether it took effect. `headers` are the CloudEvents attributes."""
    order_id, _, sequence = headers["ce_id"].rpartition(":")
    with db:  # One transaction: committed at its end, undone by an exception.
        if not is_next(db, order_id, int(sequence)):
            return False
        take_effect(db, order_id, headers["ce_type"], json.loads(payload))
    return True


def is_next(db, order_id, sequence):
    """Writes the event's number down, unless it is a repeat."""
    db.execute("begin immediate")
    (last,) = db.execute(
        "select coalesce(max(sequence), 0) from inbox where consumer = ? and order_id = ?",
        (NAME, order_id),
    ).fetchone()
    if sequence <= last:
        return False
    if sequence > last + 1:
        raise Gap(f"{order_id}:{sequence} comes after {order_id}:{last}")
    db.execute("insert into inbox values (?, ?, ?)", (NAME, order_id, sequence))
    return True


def take_effect(db, order_id, kind, data):
    if kind == "ordersaga.order.placed.v1":
        country = data["ship_to"]["country"]
        db.execute("insert into countries values (?, ?)", (order_id, country))
    # Whatever books something says what; all other types, later releases' too, change nothing here.
    for entry in data.get("entries", []):
        if entry["account"] == "payment-clearing":
            money, sign = entry["amount"], 1 if entry["side"] == "debit" else -1
            add(db, order_id, money["currency"], sign * Decimal(money["amount"]))


def add(db, order_id, currency, amount):
    placed = db.execute("select country from countries where order_id = ?", (order_id,))
    (country,) = placed.fetchone()
    known = db.execute(
        "select amount from takings where country = ? and currency = ?", (country, currency)
    ).fetchone()
    total = str(Decimal(known[0] if known else 0) + amount)
    db.execute("insert or replace into takings values (?, ?, ?)", (country, currency, total))


def run(db, brokers, topic):
    from confluent_kafka import Consumer, KafkaException

    settings = {"bootstrap.servers": brokers, "group.id": NAME}
    settings |= {"enable.auto.commit": False, "auto.offset.reset": "earliest"}
    # One that was killed holds its partitions for so long.
    settings |= {"session.timeout.ms": 6000}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    try:
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            headers = {name: value.decode() for name, value in message.headers() or []}
            handle(db, headers, message.value())
            # Only now: after a crash before this, the message comes again.
            consumer.commit(message, asynchronous=False)
    finally:
        consumer.close()


def main(command, *arguments):
    db = opened(os.environ.get("INBOX_DATABASE", "takings.db"))
    if command == "run":
        run(db, *arguments)
    elif command == "show":
        for row in db.execute("select country, amount, currency from takings order by country"):
            print(*row)
    elif command == "taken":
        for order_id, sequence in db.execute("select order_id, sequence from inbox order by rowid"):
            print(f"{order_id}:{sequence}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["help"]))
