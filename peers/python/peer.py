#!/usr/bin/env python3
"""The order's six steps by Temporal's Python SDK. It takes and prints what peers/go does (main.go).

  peer.py measure|place|accept|serve [flags]
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import Any

import asyncpg
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from workflows import Order, TextbookSaga

QUEUE = "peers-python"
CONNECTIONS = 24
STEPS = ("reserve", "charge", "post", "ship", "recognise")
UNDOS = ("release", "refund", "reverse", "fail")

Written = dict[str, Any]


def activities(db: asyncpg.Pool, repeats: str) -> list[Callable[..., Awaitable[None]]]:
    """One for each step and each undo. A statement alone is a transaction of its own."""

    @activity.defn(name="open")
    async def open_order(order: Order) -> None:
        placed = json.dumps(order.placed)
        await db.execute("select peer.open($1, $2, $3)", uuid.UUID(order.id), placed, repeats)

    def step(name: str) -> Callable[..., Awaitable[None]]:
        @activity.defn(name=name)
        async def do(order_id: str) -> None:
            await db.execute(f"select peer.{name}($1, $2)", uuid.UUID(order_id), repeats)

        return do

    def undo(name: str) -> Callable[..., Awaitable[None]]:
        @activity.defn(name=name)
        async def do(order_id: str) -> None:
            await db.execute(f"select peer.{name}($1)", uuid.UUID(order_id))

        return do

    return [open_order, *map(step, STEPS), *map(undo, UNDOS)]


def priced_orders(sample: Path, products: Path) -> Iterator[Order]:
    """The real orders of the sample again and again, each time under a new id."""
    with products.open(newline="") as file:
        prices = {row["sku"]: Decimal(row["unit_price_gbp"]) for row in csv.DictReader(file)}
    all_placed = [priced(json.loads(line), prices) for line in sample.read_text().splitlines()]
    for placed in cycle(all_placed):
        yield Order(id=str(uuid.uuid4()), total=placed["total"], placed=placed)


def priced(order: Written, prices: dict[str, Decimal]) -> Written:
    lines, total = [], Decimal("7.00")
    for line in order["lines"]:
        each = prices[line["sku"]]
        total += each * line["quantity"]
        lines.append({**line, "unit_price": f"{each}", "total": f"{each * line['quantity']}"})
    total = max(total, Decimal("8.00"))
    return {
        "customer": order["customer"],
        "country": order["country"],
        "lines": lines,
        "total": f"{total:.2f}",
    }


def tell(event: str, **more: object) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


class Load:
    """Clients that have orders carried."""

    def __init__(self, client: Client, orders: Iterator[Order], clients: int) -> None:
        self.client, self.orders, self.clients = client, orders, clients
        self.failed = 0
        # Nothing else keeps a task that nobody waits for.
        self.rounds: list[asyncio.Task[None]] = []

    async def start(self, order: Order) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            TextbookSaga.run, order, id=order.id, task_queue=QUEUE
        )

    def fails(self, error: Exception) -> None:
        self.failed += 1
        if self.failed <= 3:
            print(repr(error), file=sys.stderr)

    async def measure(self, db: asyncpg.Pool, lead: float, window: float) -> None:
        took: list[float] = []
        measuring = False

        async def go_round() -> None:
            while True:
                begun = time.monotonic()
                try:
                    await (await self.start(next(self.orders))).result()
                except Exception as error:
                    self.fails(error)
                    continue
                if measuring:
                    took.append(time.monotonic() - begun)

        for _ in range(self.clients):
            self.rounds.append(asyncio.create_task(go_round()))
        await asyncio.sleep(lead)
        await db.execute("analyze")
        await asyncio.sleep(lead)
        begun, measuring = time.monotonic(), True
        tell("begin")
        await asyncio.sleep(window)
        measuring, lasted = False, time.monotonic() - begun
        tell("end")
        took.sort()
        at = lambda share: 1000 * took[min(len(took) - 1, int(share * len(took)))] if took else 0.0
        tell(
            "measured",
            finished=len(took),
            seconds=lasted,
            p50_ms=at(0.5),
            p99_ms=at(0.99),
            failed=self.failed,
        )

    async def place(self, accepted: Path) -> None:
        with accepted.open("a", buffering=1) as file:

            async def go_round() -> None:
                while True:
                    try:
                        order = next(self.orders)
                        handle = await self.start(order)
                        # What the kernel has survives this program.
                        file.write(f"{order.id}\n")
                        await handle.result()
                    except Exception as error:
                        self.fails(error)

            tell("serving")
            await asyncio.gather(*(go_round() for _ in range(self.clients)))

    async def accept(self, count: int) -> None:
        left = count

        async def go_round() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                try:
                    await self.start(next(self.orders))
                except Exception as error:
                    self.fails(error)

        tell("accepting")
        begun = time.monotonic()
        await asyncio.gather(*(go_round() for _ in range(self.clients)))
        lasted = time.monotonic() - begun
        tell("accepted", accepted=count - self.failed, seconds=lasted, failed=self.failed)


async def run(asked: argparse.Namespace) -> None:
    db = await asyncpg.create_pool(
        os.environ["PEERS_DATABASE_URL"], min_size=1, max_size=CONNECTIONS
    )
    if asked.act != "serve" and await db.fetchval("select exists (select from peer.orders)"):
        sys.exit(
            "peers: there are orders in this database already: give it a fresh one (schema.sql)"
        )
    client = await Client.connect(asked.temporal)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[TextbookSaga],
        activities=activities(db, asked.repeats),
    )
    async with worker:
        if asked.act == "serve":
            tell("serving")
            await asyncio.Event().wait()
        load = Load(client, priced_orders(asked.sample, asked.products), asked.clients)
        if asked.act == "measure":
            await load.measure(db, asked.lead, asked.window)
        elif asked.act == "accept":
            await load.accept(asked.count)
        else:
            await load.place(asked.accepted)
        # Its processor time is read before it is ended.
        await asyncio.Event().wait()


def seconds(text: str) -> float:
    """As Go writes durations of seconds."""
    return float(text.removesuffix("s"))


def main() -> None:
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("act", choices=("measure", "place", "accept", "serve"))
    parser.add_argument("--peer", choices=("temporal-python",), default="temporal-python")
    parser.add_argument("--repeats", choices=("act", "fail", "skip"), default="skip")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--lead", type=seconds, default=4.0)
    parser.add_argument("--window", type=seconds, default=15.0)
    for file in ("sample", "products", "accepted"):
        parser.add_argument(f"--{file}", type=Path)
    parser.add_argument("--temporal", default="127.0.0.1:7233")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
