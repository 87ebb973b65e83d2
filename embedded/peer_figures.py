"""The measurements of Ordersaga and its peers: the tables, and the comparison with the targets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Optional

# The target: Ordersaga finishes at least this share of what DBOS does,
OF_DBOS = 0.4
# and at least this many times what a saga on Temporal, written as in its documentation, does.
OF_TEMPORAL = 3.5

WIDTH_MAX = 100
NONE = "–"

Number = Optional[float]


@dataclass(frozen=True)
class Figures:
    """The measurements of one engine with this many concurrent orders. `None` was not measured."""

    name: str
    # `dbos`, `temporal`, `restate`, `none`, or `ordersaga`.
    family: str
    finished: Number = None
    p50_ms: Number = None
    p99_ms: Number = None
    # CPU time per finished order.
    postgres_ms: Number = None
    server_ms: Number = None
    program_ms: Number = None
    # Durably accepted orders per second.
    accepts: Number = None

    @property
    def together_ms(self) -> Number:
        """`None` if the system reports no CPU time; without a server, its cost is zero."""
        parts = [self.postgres_ms, self.server_ms, self.program_ms]
        told = [part for part in parts if part is not None]
        return sum(told) if told else None

    def line(self) -> str:
        columns = (
            shown(self.finished, 1, 10),
            shown(self.p50_ms, 0, 7),
            shown(self.p99_ms, 0, 7),
            shown(self.postgres_ms, 1, 9),
            shown(self.server_ms, 1, 7),
            shown(self.program_ms, 1, 8),
            shown(self.together_ms, 1, 9),
            shown(self.accepts, 0, 10),
        )
        return f"{self.name:<26}" + " ".join(columns)


FIGURES_TITLE = (
    f"{'':<26}{'finished':>10} {'p50':>7} {'p99':>7} "
    f"{'Postgres':>9} {'server':>7} {'program':>8} {'together':>9} {'accepts':>10}\n"
    f"{'':<26}{'a second':>10} {'ms':>7} {'ms':>7} "
    f"{'processor time for each order, ms':>36} {'a second':>10}"
)


def shown(number: Number, decimals: int, width: int) -> str:
    return f"{NONE if number is None else f'{number:,.{decimals}f}':>{width}}"


@dataclass(frozen=True)
class Fate:
    """The orders after the program that processed them was killed and restarted."""

    name: str
    # What a repeated step does.
    repeats: str
    under_way: int
    orders: int
    finished: int
    unwound: int
    never_ended: int
    # Orders with an effect that happened twice; with two charges; shipped and yet refunded.
    twice: int
    paid_twice: int
    shipped_and_refunded: int

    @property
    def is_well(self) -> bool:
        return not (self.never_ended or self.twice or self.shipped_and_refunded)

    def line(self) -> str:
        counts = (
            (self.under_way, 9),
            (self.orders, 7),
            (self.finished, 9),
            (self.unwound, 8),
            (self.never_ended, 6),
            (self.twice, 6),
            (self.paid_twice, 8),
            (self.shipped_and_refunded, 9),
        )
        columns = " ".join(f"{count:>{width},}" for count, width in counts)
        return f"{self.name:<22}{self.repeats:<8} {columns}"


FATES_TITLE = (
    f"{'':<22}{'a repeat':<8} {'under way':>9} {'':>7} {'':>9} {'':>8} {'never':>6} "
    f"{'done':>6} {'charged':>8} {'shipped,':>9}\n"
    f"{'':<22}{'is to':<8} {'at kill':>9} {'orders':>7} {'finished':>9} {'unwound':>8} "
    f"{'ended':>6} {'twice':>6} {'twice':>8} {'refunded':>9}"
)


@dataclass(frozen=True)
class Target:
    what: str
    found: str
    aim: str
    reached: bool

    def line(self) -> str:
        verdict = "reached" if self.reached else "NOT reached"
        return f"{self.what:<52} {self.found:>9}   target {self.aim:<9} {verdict}"


def targets(ordersaga: Figures, peers: Iterable[Figures]) -> list[Target]:
    """Ordersaga's targets, as far as both sides were measured."""
    peers = list(peers)
    found = []
    dbos = [peer for peer in peers if peer.family == "dbos" and peer.finished]
    if ordersaga.finished is not None and dbos:
        best = max(dbos, key=lambda peer: peer.finished or 0.0)
        found.append(_times(f"finished : {best.name}", ordersaga, best, OF_DBOS))
    for peer in peers:
        if peer.family == "temporal" and peer.finished and ordersaga.finished is not None:
            found.append(_times(f"finished : {peer.name}", ordersaga, peer, OF_TEMPORAL))
    rivals = [peer for peer in peers if peer.accepts is not None]
    if ordersaga.accepts is not None and rivals:
        best = max(rivals, key=lambda peer: peer.accepts or 0.0)
        found.append(
            Target(
                f"accepts a second, ahead of all ({best.name})",
                f"{ordersaga.accepts:,.0f}",
                f"> {best.accepts:,.0f}",
                ordersaga.accepts > (best.accepts or 0.0),
            )
        )
    return found


def _times(what: str, ordersaga: Figures, peer: Figures, at_least: float) -> Target:
    times = (ordersaga.finished or 0.0) / (peer.finished or 1.0)
    return Target(what, f"{times:.2f}", f"≥ {at_least}", times >= at_least)


HEADING = re.compile(r"^── (.*) ──$")
# The columns of the benchmark's contenders.
ORDER, TEXTBOOK = 1, 2


def sections(text: str) -> dict[str, dict[str, list[str]]]:
    """`{heading: {label: columns}}` from the output of `shop bench`."""
    found: dict[str, dict[str, list[str]]] = {}
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if heading := HEADING.match(line.strip()):
            rows = found.setdefault(heading[1], {})
        elif len(parts := re.split(r" {2,}", line.strip())) >= 2:
            rows[parts[0]] = parts[1:]
    return found


def of_bench(text: str) -> list[Figures]:
    """Ordersaga and the textbook saga on Temporal's Rust SDK, from the output of `shop bench`.

    Missing or unreadable values are `None`.
    """
    found = sections(text)
    many = _section(found, " at once: medians")
    cpu = _section(found, "processor time per finished workflow")
    burst = _section(found, "bursts: ")
    # Only Ordersaga's orders arrive at a fixed rate, so this section has one column.
    arrived = _number(_section(found, " orders arrive, "), "accepted per second", 0)

    def of(name: str, family: str, column: int) -> Figures:
        # The benchmark reports programs that share a process together.
        parts = ("worker and starter",) if "worker and starter" in cpu else ("worker", "starter")
        program = [_number(cpu, label, column) for label in (*parts, "load generator")]
        return Figures(
            name=name,
            family=family,
            finished=_number(many, "finished per second", column),
            p50_ms=_number(many, "latency to finished, p50", column),
            p99_ms=_number(many, "latency to finished, p99", column),
            postgres_ms=_number(cpu, "Postgres", column),
            server_ms=_number(cpu, "Temporal server", column),
            program_ms=None if None in program else sum(part or 0.0 for part in program),
            accepts=_number(burst, "accepted per second", column),
        )

    ours = of("Ordersaga", "ordersaga", ORDER)
    return [
        ours if arrived is None else replace(ours, accepts=arrived),
        of("textbook, Temporal Rust", "temporal", TEXTBOOK),
    ]


def _section(found: dict[str, dict[str, list[str]]], part: str) -> dict[str, list[str]]:
    return next((rows for heading, rows in found.items() if part in heading), {})


def _number(rows: dict[str, list[str]], label: str, column: int) -> Number:
    """A plain number, or a time in milliseconds."""
    columns = rows.get(label, [])
    told = re.fullmatch(r"([0-9.]+)( ms| s)?", columns[column]) if column < len(columns) else None
    if told is None:
        return None
    return float(told[1]) * (1000 if told[2] == " s" else 1)
