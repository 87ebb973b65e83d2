#!/usr/bin/env python3
"""Computes what a number of orders a second takes: the tables of scale.md.

  scale.py            prints the tables
  scale.py --write    puts them into scale.md, between the marks that name them

The figures below are the model's only inputs. One whose line in scale.md ends with an asterisk stands in
for a measurement of the release: put the measured value and where it is from here, by `known` in the place
of `to_measure`, and write the tables anew. `python3 -m unittest discover docs` fails while scale.md and
this file disagree.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

PAGE = Path(__file__).resolve().parent / "scale.md"
RATES = (100, 1_000, 10_000, 100_000)

CLUSTER = "cluster run, 3 nodes"
PROFILE = "profile, one machine"


@dataclass(frozen=True)
class Input:
    """A figure that everything else is computed from."""

    what: str
    value: Decimal
    unit: str
    source: str
    # Whether the release has still to be measured.
    todo: bool = False


def to_measure(what: str, value: str, unit: str, source: str) -> Input:
    return Input(what, Decimal(value), unit, source, todo=True)


def known(what: str, value: str, unit: str, source: str) -> Input:
    """Measured of this release, or a price, a limit or a share that is assumed."""
    return Input(what, Decimal(value), unit, source)


# Processor time of an order of 22 lines that completes, on a cluster.
TEMPORAL = to_measure("Temporal's three services", "22.0", "ms of a core", CLUSTER)
TEMPORAL_STORE = to_measure("Temporal's Postgres", "12.8", "ms of a core", CLUSTER)
SHOP_STORE = to_measure("the shop's Postgres", "7.9", "ms of a core", CLUSTER)
WORKER = to_measure("workers", "7.4", "ms of a core", CLUSTER)
STARTER = to_measure("API (starters)", "1.7", "ms of a core", CLUSTER)
BALANCER = to_measure("balancer before Temporal", "0.5", "ms of a core", CLUSTER)
CLUSTER_RATE = to_measure("orders a second of that cluster, on two cores", "27.3", "", CLUSTER)

ALONE = to_measure("everything on one machine, the load included", "38.8", "ms of a core", PROFILE)
ALONE_RATE = to_measure("orders a second of that machine, with two cores", "44.7", "", PROFILE)

EVENTS = to_measure("events", "7.8", "", "demo, 295 events of 38 orders")
EVENT_RELAYED = to_measure("relay, for an event and a sink", "0.008", "ms of a core", "outbox of 200,000 events")
RELAY_RATE = to_measure("events a second that one relay delivers", "25900", "", "outbox of 200,000 events")
WAL = to_measure("WAL of the shop's Postgres", "48", "kB", PROFILE)
KEPT = to_measure("what the shop's Postgres keeps, indexes included", "25", "kB", "estimate: half of the WAL")
HISTORY = to_measure("history in Temporal", "8", "kB", "estimate: 3 kB of a one-line order, and 22 lines")
VISIBILITY = to_measure("visibility in Temporal", "29", "kB", "cluster run: 606 MB of 21,000 workflows")
TRANSITIONS = to_measure("state transitions", "3", "", "test of what an order costs")
ACTIONS = to_measure("actions, as Temporal Cloud counts them", "3", "", "history: start, markers, search attributes")
ARTICLE_HELD = to_measure("how long an order holds an article's row", "2.5", "ms", "estimate: one statement and its commit")

UTILISATION = known("share of a core that is used", "0.6", "", "room for a lost node and for peaks of seconds")
AVERAGE = known("the average day's share of the rate", "0.4", "", "machines are paid for at the rate, orders at the average")
NODE_CORES = known("cores of a machine", "16", "", "a common size")
STORE_CORES = known("cores of the largest machine for a Postgres", "64", "", "two sizes below the largest that are rented out")
STORE_WAL = known("WAL that one Postgres and its replicas keep up with", "150", "MB/s", "a few streaming replicas at 10 Gbit/s, and the archive")
SHARD_RATE = known("transitions a second of a history shard", "10", "", "a shard writes one after the other, in some 10 ms; a tenth of that")
SINKS = known("sinks", "2", "", "a broker and webhooks")
RELAY_SHARDS = known("shards of a sink, each read by one relay", "8", "", "migration 0080")
HOT_SHARE = known("share of the orders that want the same article", "0.1", "", "a flash sale")
RETENTION = known("days that Temporal keeps an ended workflow", "7", "", "`TEMPORAL_RETENTION`")
CORE_HOUR = known("a core for an hour", "0.0408", "USD", "AWS m7g.large on demand, us-east-1, June 2026, by factualminds.com: 0.0816 for two")
DISK_MONTH = known("a GB of disk for a month", "0.08", "USD", "AWS gp3 in us-east-1, list price")
ACTION_FIRST = known("a million actions, the first 5 million of a month", "50", "USD", "docs.temporal.io/cloud/pricing, pay as you go, at 0217b71 of its repository")
ACTION_LAST = known("a million actions, beyond 100 million of a month", "25", "USD", "the same; beyond 200 million by contract")
RETAINED = known("a GB of ended histories for an hour", "0.00105", "USD", "the same")

MEASURED = (
    TEMPORAL, TEMPORAL_STORE, SHOP_STORE, WORKER, STARTER, BALANCER, CLUSTER_RATE, ALONE, ALONE_RATE,
    EVENTS, EVENT_RELAYED, RELAY_RATE, WAL, KEPT, HISTORY, VISIBILITY, TRANSITIONS, ACTIONS, ARTICLE_HELD,
)  # fmt: skip
ASSUMED = (
    UTILISATION, AVERAGE, NODE_CORES, STORE_CORES, STORE_WAL, SHARD_RATE, SINKS, RELAY_SHARDS, HOT_SHARE,
    RETENTION, CORE_HOUR, DISK_MONTH, ACTION_FIRST, ACTION_LAST, RETAINED,
)  # fmt: skip


def up(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_CEILING))


def cores(rate: int, ms: Decimal) -> Decimal:
    """How many cores are there for so much of an order, at this rate."""
    return rate * ms / 1_000 / UTILISATION.value


def cpu() -> Decimal:
    """An order's processor time on a cluster, with its events delivered."""
    parts = (TEMPORAL, TEMPORAL_STORE, SHOP_STORE, WORKER, STARTER, BALANCER)
    return sum((part.value for part in parts), start=relayed())


def relayed() -> Decimal:
    return EVENTS.value * SINKS.value * EVENT_RELAYED.value


def wal(rate: int) -> Decimal:
    """MB a second, of all databases of the shop."""
    return rate * WAL.value / 1_000


def temporal_clusters(rate: int) -> int:
    """Temporal has one database for each cluster, so what that takes decides how many there are."""
    return max(1, up(cores(rate, TEMPORAL_STORE.value) / STORE_CORES.value))


def history_shards(rate: int) -> int:
    """Of each cluster. It can never be changed later, so it is a power of two with room to grow."""
    wanted = rate / Decimal(temporal_clusters(rate)) * TRANSITIONS.value / SHARD_RATE.value
    shards = 64
    while shards < wanted:
        shards *= 2
    return shards


def shop_databases(rate: int) -> int:
    by_cores = up(cores(rate, SHOP_STORE.value) / STORE_CORES.value)
    by_relay = up(rate * EVENTS.value / (RELAY_RATE.value * RELAY_SHARDS.value))
    return max(1, by_cores, up(wal(rate) / STORE_WAL.value), by_relay)


def relays(rate: int) -> int:
    """Processes, of all databases and sinks."""
    of_a_sink = rate * EVENTS.value / shop_databases(rate) / RELAY_RATE.value / UTILISATION.value
    return max(1, up(of_a_sink)) * int(SINKS.value) * shop_databases(rate)


def article_rate() -> Decimal:
    """Orders a second that one row of one article can take."""
    return 1_000 / ARTICLE_HELD.value


def buckets(rate: int) -> int:
    return max(1, up(rate * HOT_SHARE.value / article_rate()))


def nodes(rate: int, ms: Decimal, at_least: int) -> int:
    return max(at_least, up(cores(rate, ms) / NODE_CORES.value))


def table(head: Iterable[str], rows: Iterable[Iterable[str]], align: str) -> str:
    marks = {"l": "---", "r": "--:"}
    lines = [list(head), [marks[one] for one in align], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: Decimal | int) -> str:
    """A whole number as such, a small one with the digits that matter."""
    value = Decimal(value)
    if value == value.to_integral_value() or value >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 10 else f"{value.normalize():,.2f}"


def inputs(figures: tuple[Input, ...]) -> str:
    def row(one: Input) -> tuple[str, ...]:
        value = f"{one.value:,f} {one.unit}".strip()
        return one.what, value, f"{one.source} \\*" if one.todo else one.source

    return table(("", "value", "from"), map(row, figures), "lrl")


def by_rate(rows: tuple[tuple[str, Callable[[int], Decimal | int]], ...]) -> str:
    head = ("orders a second", *(f"{rate:,}" for rate in RATES))
    body = ((what, *(number(of(rate)) for rate in RATES)) for what, of in rows)
    return table(head, body, "lrrrr")


def machines() -> str:
    return by_rate(
        (
            ("Temporal clusters", temporal_clusters),
            ("history shards of each", history_shards),
            ("machines for Temporal's services", lambda rate: nodes(rate, TEMPORAL.value, 3)),
            ("cores of Temporal's Postgres", lambda rate: cores(rate, TEMPORAL_STORE.value)),
            ("databases of the shop", shop_databases),
            ("cores of all of them", lambda rate: cores(rate, SHOP_STORE.value)),
            ("WAL of each, MB/s", lambda rate: wal(rate) / shop_databases(rate)),
            ("machines for workers", lambda rate: nodes(rate, WORKER.value, 2)),
            ("machines for the API", lambda rate: nodes(rate, STARTER.value, 2)),
            ("relays, each of one core", relays),
            ("rows that a hot article's stock is in", buckets),
            ("cores in all", lambda rate: cores(rate, cpu())),
        )
    )


def kept() -> str:
    def day(rate: int, kb: Decimal) -> Decimal:
        """GB of an average day."""
        return rate * AVERAGE.value * 86_400 * kb / 1_000_000

    days = RETENTION.value
    return by_rate(
        (
            ("orders of an average day, millions", lambda rate: rate * AVERAGE.value * 86_400 / 1_000_000),
            ("the shop's databases grow by, GB a day", lambda rate: day(rate, KEPT.value)),
            ("WAL to replicas and archive, GB a day", lambda rate: day(rate, WAL.value)),
            ("histories in Temporal, GB", lambda rate: day(rate, HISTORY.value) * days),
            ("visibility in Temporal, GB", lambda rate: day(rate, VISIBILITY.value) * days),
        )
    )


def dollars(value: Decimal) -> str:
    return f"{value:,.2f}"


def money() -> str:
    def computing(ms: Decimal) -> Decimal:
        """A million orders are 1,000 seconds for each millisecond of one."""
        return ms * 1_000 / 3_600 / UTILISATION.value / AVERAGE.value * CORE_HOUR.value

    own = computing(TEMPORAL.value + TEMPORAL_STORE.value + BALANCER.value)
    rest = computing(cpu() - TEMPORAL.value - TEMPORAL_STORE.value - BALANCER.value)
    disk = KEPT.value * DISK_MONTH.value
    histories = (HISTORY.value + VISIBILITY.value) * RETENTION.value / 30 * DISK_MONTH.value
    retained = HISTORY.value * RETENTION.value * 24 * RETAINED.value
    rows = (
        ("the shop's processes and Postgres", rest, rest, rest),
        ("Temporal's machines, or actions", own, ACTIONS.value * ACTION_FIRST.value, ACTIONS.value * ACTION_LAST.value),
        ("histories and visibility", histories, retained, retained),
        ("the shop's disk, for a month", disk, disk, disk),
    )
    sums = (sum((row[place] for row in rows), start=Decimal(0)) for place in (1, 2, 3))
    body = [(what, *map(dollars, values)) for what, *values in rows]
    body.append(("**together**", *(f"**{dollars(one)}**" for one in sums)))
    head = ("USD for a million orders", "own Temporal", "Temporal Cloud, first actions", "Temporal Cloud, many")
    return table(head, body, "lrrr")


def checked() -> str:
    def row(what: str, ms: Decimal, seen: Decimal) -> tuple[str, ...]:
        could = 2_000 / ms
        return what, number(could), number(seen), f"{seen / could:.2f}"

    without_relay = cpu() - relayed()
    rows = (
        row("cluster, two cores", without_relay, CLUSTER_RATE.value),
        row("one machine, two cores", ALONE.value, ALONE_RATE.value),
    )
    return table(("", "model, orders a second", "measured", "share"), rows, "lrrr")


TABLES: dict[str, Callable[[], str]] = {
    "measured": lambda: inputs(MEASURED),
    "assumed": lambda: inputs(ASSUMED),
    "machines": machines,
    "kept": kept,
    "money": money,
    "checked": checked,
}


def placed(page: str) -> str:
    """The page with the tables as they are computed now."""
    for name, of in TABLES.items():
        marks = re.compile(rf"(<!-- {name} -->\n\n).*?(\n\n<!-- /{name} -->)", re.DOTALL)
        text = of()
        page, times = marks.subn(lambda found: found[1] + text + found[2], page)
        if times != 1:
            raise ValueError(f"{PAGE.name} has {times} places for the table {name}")
    return page


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        PAGE.write_text(placed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    for name, of in TABLES.items():
        print(f"{name}\n\n{of()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
