#!/usr/bin/env python3
"""Compares Ordersaga with alternatives, on the same machine, with the same orders.

  peers.py                     everything: rates, accepts, and a kill of each
  peers.py --only restate      one of them, or several, without Ordersaga
  peers.py --bench FILE        takes Ordersaga's rates from the output of `make bench`
  peers.py --without-kills     only rates and accepts; --without-rates: only kills

The peers are in peers/ (its README says how each is written). Each runs alone, with a new Postgres
with Ordersaga's settings. A peer that needs Go, node or pip is skipped with a message if that is
missing.

First each processes 100 concurrent orders, of 22 lines in the mean, for --seconds; then it accepts
2,000 without waiting for them; then its program is killed with -9 while it processes 100 orders and
started again, and SQL counts the results. The kill is repeated for each way to write a step.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable
from urllib.parse import unquote, urlsplit

import stack as stacks
from account import account_for
from console import Problem, say
from data_folder import opened
from fetch import cache_folder, one_at_a_time, postgres_programs, temporal_cli
from peer_figures import FATES_TITLE, FIGURES_TITLE, Fate, Figures, of_bench, targets
from ports import Ports, listens
from postgres import Postgres, make_reachable
from processes import Service, Services, Signals, run
from temporal_server import TemporalServer
from tools import fetched

PEERS = stacks.REPO / "peers"
SAMPLE = stacks.REPO / "shop" / "data" / "orders-sample.jsonl"
RESTATE = "@restatedev/restate-server@1.7.12"
# As recommended in the documentation of its Python SDK.
PYTHON_AT_LEAST = (3, 10)
RESTATE_PORT = 25080
AT_ONCE = 100
ACCEPTED = 2000
# The number of orders that have ended before the kill, as a warm-up.
BEFORE_KILL = 100
# After so long without progress, none is expected. Longer than any peer's retry interval.
QUIET_SECONDS = 40.0
PATIENCE_SECONDS = 240.0
ENGINES_LOG = "program"
# A line that was truncated by the kill is ignored.
ID_LENGTH = 36


@dataclass(frozen=True)
class Peer:
    """An engine that could be used instead of Ordersaga."""

    # Its name in its program, and for people.
    name: str
    shown: str
    family: str
    # How its steps handle repetition: while it is measured, and when it is killed.
    measured_with: str
    killed_with: tuple[str, ...]
    # `temporal` or `restate`.
    server: str | None = None
    language: str = "go"
    # Whether an order is durably accepted before it is processed.
    accepts: bool = True


EVERY_WAY = ("act", "fail", "skip")
ALL = (
    Peer("none", "no engine", "none", "act", ("act",), accepts=False),
    # Exactly once by itself, so its steps need not be idempotent.
    Peer("dbos-transactions", "DBOS Go, transactions", "dbos", "act", ("act",)),
    Peer("dbos-steps", "DBOS Go, steps", "dbos", "skip", EVERY_WAY),
    Peer("restate", "Restate Go", "restate", "skip", EVERY_WAY, server="restate"),
    Peer("temporal-go", "Temporal Go", "temporal", "skip", EVERY_WAY, server="temporal"),
    Peer(
        "temporal-python",
        "Temporal Python",
        "temporal",
        "skip",
        EVERY_WAY,
        server="temporal",
        language="python",
    ),
)


@dataclass(frozen=True)
class Tools:
    """The programs that the peers need."""

    cache: Path
    postgres: Path
    temporal: Path
    go: Path | None
    python: Path | None
    restate: Path | None

    def missing_for(self, peer: Peer) -> str | None:
        """Why a peer cannot be measured."""
        if peer.language == "go" and self.go is None:
            return "there is no Go that builds it: install Go 1.26 from https://go.dev/dl"
        if peer.language == "python" and self.python is None:
            wanted = ".".join(map(str, PYTHON_AT_LEAST))
            return f"Temporal's SDK could not be fetched; it needs pip and Python {wanted}"
        if peer.server == "restate" and self.restate is None:
            return "its server comes from npm: install Node.js from https://nodejs.org"
        return None


def fetch_tools(data: Path, wanted: Sequence[Peer], signals: Signals) -> Tools:
    account = account_for(data / "postgres")
    cache = cache_folder(os.environ, account)
    with one_at_a_time(cache, signals):
        return Tools(
            cache=cache,
            postgres=postgres_programs(cache, account, signals),
            temporal=temporal_cli(cache, signals),
            go=build_go(data, signals) if any(p.language == "go" for p in wanted) else None,
            python=fetch_python(cache) if any(p.language == "python" for p in wanted) else None,
            restate=fetch_restate(cache) if any(p.server == "restate" for p in wanted) else None,
        )


def build_go(data: Path, signals: Signals) -> Path | None:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        return None
    say("building the peers with go; the first time this takes some minutes")
    program = data / "bin" / "peers"
    command = [go, "build", "-mod=readonly", "-o", str(program), "."]
    if run(command, signals, cwd=PEERS / "go", stdout=sys.stderr.fileno()):
        say("go's message above says why the peers are not built")
        return None
    return program


def fetch_python(cache: Path) -> Path | None:
    if sys.version_info < PYTHON_AT_LEAST:
        return None
    pinned = (PEERS / "python" / "requirements.txt").read_text().split()
    try:
        return fetched(cache, tuple(pinned))
    except Problem as problem:
        say(str(problem))
        return None


def fetch_restate(cache: Path) -> Path | None:
    npm = shutil.which("npm")
    if npm is None:
        return None
    folder = cache / f"npm-{RESTATE.lstrip('@').replace('/', '-').replace('@', '-')}"
    if not folder.exists():
        say(f"fetching {RESTATE} into {cache}, once")
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            packages = Path(scratch, "packages")
            wanted = ["install", "--ignore-scripts", "--no-audit", "--no-fund"]
            command = [npm, *wanted, "--prefix", str(packages), RESTATE]
            if subprocess.run(command, stdout=sys.stderr.fileno()).returncode:
                say("npm's message above says why there is no Restate server")
                return None
            packages.rename(folder)
    # The binary is in a platform-specific dependency of this package.
    return next(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)


def refuse_unfair(with_ordersaga: bool) -> None:
    """Refuses settings that would distort the results."""
    if with_ordersaga and stacks.profile() != "release":
        raise Problem(
            "ORDERSAGA_PROFILE builds programs that run slower than they can: unset it"
        )
    for name in ("DATABASE_URL", "TEMPORAL_ADDRESS"):
        if name in os.environ:
            raise Problem(
                "peers are compared on servers that are new and have the machine to themselves: "
                f"unset {name} and run this again"
            )


@dataclass
class Ground:
    """A new Postgres, and the peer's own server if it has one."""

    peer: Peer
    tools: Tools
    data: Path
    signals: Signals
    services: Services
    ports: Ports = field(default_factory=Ports)
    url: str = ""
    flags: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        # A concurrent start must not choose the same ports.
        with one_at_a_time(self.tools.cache, self.signals):
            self._start_servers()
        self.psql("--file", str(PEERS / "schema.sql"))
        self._fill_stock()

    def _start_servers(self) -> None:
        account = account_for(self.data / "postgres")
        make_reachable(self.data, account)
        postgres = Postgres(
            programs=self.tools.postgres,
            data=self.data,
            port=self.ports.choose("Postgres", stacks.POSTGRES_PORT),
            account=account,
            fast=False,
        )
        self.services.launch(postgres.service(self.signals))
        postgres.create_roles(self.signals)
        self.url = postgres.url("owner")
        if self.peer.server == "temporal":
            self._start_temporal()
        if self.peer.server == "restate":
            self._start_restate()

    def psql(self, *what: str) -> str:
        return psql(self.tools.postgres, self.url, *what)

    def asked(self, sql: str) -> Any:
        return json.loads(self.psql("--command", sql))

    def _fill_stock(self) -> None:
        articles = self.data / "articles.csv"
        with stacks.CATALOGUE.open(newline="") as catalogue, articles.open("w") as file:
            for row in csv.DictReader(catalogue):
                file.write(f'"{row["sku"]}",1000000000\n')
        self.psql("--command", f"\\copy peer.stock (sku, on_hand) from '{articles}' (format csv)")

    def _start_temporal(self) -> None:
        server = TemporalServer(
            cli=self.tools.temporal,
            data=self.data,
            port=self.ports.choose("Temporal", stacks.TEMPORAL_PORT),
            ui_port=self.ports.choose("the Temporal Web UI", stacks.TEMPORAL_UI_PORT),
            namespace="default",
        )
        self.services.launch(server.service())
        self.flags += ["--temporal", server.address]

    def _start_restate(self) -> None:
        wanted = ("the peer's service", "Restate's administration", "Restate", "Restate's own")
        service, admin, entry, own = (self.ports.choose(what, RESTATE_PORT) for what in wanted)
        configured = self.data / "restate.toml"
        configured.write_text(restate_settings(self.data / "restate", admin, entry, own))
        assert self.tools.restate is not None, "a peer without its server is left out"
        self.services.launch(
            Service(
                name="restate",
                command=[self.tools.restate, "--config-file", configured],
                log=self.data / "logs" / "restate.log",
                env=os.environ,
                ready=lambda: listens(entry) and answers(admin, "/health"),
            )
        )
        self.flags += ["--restate-listen", f"127.0.0.1:{service}"]
        self.flags += ["--restate-admin", f"http://127.0.0.1:{admin}"]
        self.flags += ["--restate-ingress", f"http://127.0.0.1:{entry}"]

    def launch(self, act: str, repeats: str, until: str, *more: str) -> Program:
        """Starts the peer's program, and waits until it has printed the event `until`."""
        flags = ["--peer", self.peer.name, "--repeats", repeats, *self.flags, *more]
        flags += ["--clients", str(AT_ONCE), "--sample", str(SAMPLE)]
        flags += ["--products", str(stacks.CATALOGUE)]
        env = {**os.environ, "PEERS_DATABASE_URL": self.url}
        if self.peer.language == "python":
            own = PEERS / "python"
            env["PYTHONPATH"] = os.pathsep.join((str(self.tools.python), str(own)))
            command: list[str | Path] = [sys.executable, str(own / "peer.py"), act, *flags]
        else:
            command = [str(self.tools.go), act, *flags]
        log = self.data / "logs" / f"{act}.log"
        service = Service(
            f"{ENGINES_LOG} {act}", command, log, env, ready=lambda: until in told(log)
        )
        self.services.launch(service)
        return Program(service, log, self.signals)

    def cpu_seconds(self) -> dict[str, float | None]:
        """The CPU time of every process started here, including its children."""
        return {service.name: cpu_seconds(service.pid) for service in self.services.running}


@dataclass(frozen=True)
class Program:
    """The peer's running program."""

    service: Service
    log: Path
    signals: Signals

    def wait_for(self, event: str, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while event not in (events := told(self.log)):
            code = self.service.exit_code()
            # The event may be in its last output.
            if code is not None and event not in (events := told(self.log)):
                raise Problem(f"{self.service.name} has ended early; {self.service.log_tail()}")
            if time.monotonic() > deadline:
                raise Problem(f"{self.service.name} takes too long; {self.service.log_tail()}")
            self.signals.pause(0.02)
        return events[event]


def told(log: Path) -> dict[str, dict[str, Any]]:
    """The JSON lines in a program's log, by event."""
    events: dict[str, dict[str, Any]] = {}
    for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
        if line.startswith('{"') and line.endswith("}"):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if "event" in event:
                events[event["event"]] = event
    return events


def restate_settings(base: Path, admin: int, entry: int, own: int) -> str:
    """Restate's defaults except for its addresses, without telemetry.

    By default its log waits for the disk at each write, as Postgres does here.
    """
    return f"""disable-telemetry = true
node-name = "peer"
base-dir = "{base}"
listen-mode = "tcp"
bind-ip = "127.0.0.1"
bind-port = {own}
advertised-host = "127.0.0.1"

[admin]
bind-address = "127.0.0.1:{admin}"

[ingress]
bind-address = "127.0.0.1:{entry}"
"""


def answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def psql(programs: Path, url: str, *what: str) -> str:
    """Runs a statement with psql and returns its plain output.

    **Raises** `Problem` if it fails.
    """
    at = urlsplit(url)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    env = {**kept, "PGPASSWORD": unquote(at.password or "")}
    where = ["--host", at.hostname or "", "--port", str(at.port), "--username", at.username or ""]
    where += ["--dbname", at.path.lstrip("/")]
    how = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
    asked = subprocess.run(
        [programs / "psql", *where, *how, *what], env=env, capture_output=True, text=True
    )
    if asked.returncode:
        raise Problem(f"psql: {asked.stderr.strip()}")
    return asked.stdout.strip()


def cpu_seconds(pid: int) -> float | None:
    """The CPU time of a process, its children, and those of them that have ended; `None` if the
    system does not report it."""
    taken: dict[int, tuple[int, int]] = {}
    for folder in Path("/proc").glob("[0-9]*") if Path("/proc/self/stat").exists() else []:
        try:
            # The name in brackets may contain anything.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        taken[int(folder.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    if pid not in taken:
        return None
    return ticks_of(pid, taken) / os.sysconf("SC_CLK_TCK")


def ticks_of(pid: int, taken: dict[int, tuple[int, int]]) -> int:
    """`taken` is `{pid: (parent, ticks)}`."""
    children = (child for child, (parent, _) in taken.items() if parent == pid)
    return taken[pid][1] + sum(ticks_of(child, taken) for child in children)


@contextmanager
def ground(peer: Peer, tools: Tools, data: Path, signals: Signals) -> Iterator[Ground]:
    """Starts everything new and stops it afterwards, so that each peer has the machine to itself.
    """
    with opened(data / "ground", fresh=True, signals=signals) as services:
        prepared = Ground(peer, tools, data / "ground", signals, services)
        prepared.prepare()
        yield prepared


def measured(peer: Peer, tools: Tools, data: Path, signals: Signals, seconds: int) -> Figures:
    """Measures its rate: this many concurrent orders, and then this many accepted."""
    with ground(peer, tools, data, signals) as here:
        say(f"{peer.shown}: {AT_ONCE} at once for {seconds} s")
        window = ["--window", f"{seconds}s"]
        program = here.launch("measure", peer.measured_with, "begin", *window)
        before = here.cpu_seconds()
        program.wait_for("end", seconds + 30)
        after = here.cpu_seconds()
        found = program.wait_for("measured", 30)
    if not found["finished"]:
        raise Problem(f"{peer.shown} has finished no order; {program.service.log_tail()}")
    accepts = None
    if peer.accepts:
        with ground(peer, tools, data, signals) as here:
            say(f"{peer.shown}: accepts {ACCEPTED:,}")
            count = ["--count", str(ACCEPTED)]
            program = here.launch("accept", peer.measured_with, "accepting", *count)
            accepted = program.wait_for("accepted", PATIENCE_SECONDS)
            accepts = accepted["accepted"] / accepted["seconds"]
    if found["failed"]:
        say(f"NOTE: {found['failed']} orders of {peer.shown} went wrong while it was measured")
    each = partial(millis_each, before, after, found["finished"])
    return Figures(
        name=peer.shown,
        family=peer.family,
        finished=found["finished"] / found["seconds"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        postgres_ms=each("postgres"),
        server_ms=each(peer.server) if peer.server else None,
        program_ms=each(f"{ENGINES_LOG} measure"),
        accepts=accepts,
    )


def millis_each(
    before: dict[str, float | None], after: dict[str, float | None], orders: int, name: str
) -> float | None:
    begun, ended = before.get(name), after.get(name)
    if begun is None or ended is None or orders == 0:
        return None
    return 1000 * (ended - begun) / orders


PROGRESS = """
select json_build_object(
    'ended', count(*) filter (where status in ('completed', 'failed')),
    'open', count(*) filter (where status not in ('completed', 'failed')),
    'orders', count(*), 'events', coalesce(sum(version), 0)
) from peer.orders
"""


def killed(peer: Peer, repeats: str, tools: Tools, data: Path, signals: Signals) -> Fate:
    """Kills its program while it processes orders, and reports the results."""
    with ground(peer, tools, data, signals) as here:
        say(f"{peer.shown}, a repeat is to {repeats}: kill -9 under {AT_ONCE} orders")
        accepted = here.data / "accepted"
        program = here.launch("place", repeats, "serving", "--accepted", str(accepted))
        wait_until(lambda: here.asked(PROGRESS)["ended"] >= BEFORE_KILL, program, signals)
        here.services.kill(program.service.name)
        # Accepted orders may not have begun; accepting is a promise. Without an engine nothing is
        # promised before the end.
        lines = accepted.read_text().splitlines() if peer.accepts else []
        promised = [line for line in lines if len(line) == ID_LENGTH]
        now = here.asked(PROGRESS)
        under_way = len(promised) - now["ended"] if promised else now["open"]
        here.launch("serve", repeats, "serving")
        until_quiet(lambda: here.asked(PROGRESS), len(promised), signals)
        accepted.write_text("".join(f"{line}\n" for line in promised))
        here.psql("--command", f"\\copy peer.accepted from '{accepted}'")
        counts = json.loads(here.psql("--file", str(PEERS / "counts.sql")))
    del counts["accepted_and_never_begun"]
    return Fate(name=peer.shown, repeats=repeats, under_way=under_way, **counts)


def wait_until(done: Callable[[], bool], program: Program, signals: Signals) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if program.service.exit_code() is not None or time.monotonic() > deadline:
            raise Problem(f"{program.service.name} makes no progress; {program.service.log_tail()}")
        signals.pause(0.1)


def until_quiet(progress: Callable[[], dict[str, int]], promised: int, signals: Signals) -> None:
    """Waits until every accepted order and every other known one has ended, or there is no
    progress."""
    now = began = moved = time.monotonic()
    last: dict[str, int] = {}
    while now < began + PATIENCE_SECONDS and now < moved + QUIET_SECONDS:
        current = progress()
        now = time.monotonic()
        if current != last:
            last, moved = current, now
        if current["open"] == 0 and current["ended"] >= promised:
            return
        signals.pause(0.5)


# The same counts from Ordersaga's tables, read directly.
OUR_PROGRESS = """
select json_build_object(
    'ended', count(*) filter (where status in ('completed', 'cancelled', 'rejected', 'failed')),
    'open', count(*) filter (where status not in ('completed', 'cancelled', 'rejected', 'failed')),
    'orders', count(*), 'events', coalesce(sum(version), 0)
) from orders.orders
"""


def ordersaga_killed(data: Path, signals: Signals) -> tuple[Fate, bool]:
    """The same kill of Ordersaga's worker, and whether `ordersaga prove` holds."""
    with opened(data / "ordersaga", fresh=True, signals=signals) as services:
        whole = stacks.Stack("up", data / "ordersaga", signals, services)
        whole.start()
        say(f"Ordersaga: kill -9 of the worker under {AT_ONCE} orders")
        account = account_for(data / "ordersaga" / "postgres")
        programs = postgres_programs(cache_folder(os.environ, account), account, signals)
        ask = partial(psql, programs, whole.env["MIGRATE_DATABASE_URL"])

        def progress() -> dict[str, int]:
            return json.loads(ask("--command", OUR_PROGRESS))

        accepted = place_until(whole, progress, signals)
        services.kill("worker")
        under_way = progress()["open"]
        services.start_again("worker")
        until_quiet(progress, len(accepted), signals)
        arguments = "{" + ",".join(accepted) + "}"
        counted = json.loads(
            ask("--set", f"accepted={arguments}", "--file", str(PEERS / "ordersaga-counts.sql"))
        )
        prove = [stacks.binary("ordersaga"), "prove"]
        told = data / "prove.txt"
        with told.open("w") as file:
            proven = run(prove, signals, env=whole.env, stdout=file) == 0
        say(f"what `ordersaga prove` says of it is in {told}")
    return Fate(name="Ordersaga", repeats="skip", under_way=under_way, **counted), proven


def place_until(
    whole: stacks.Stack, progress: Callable[[], dict[str, int]], signals: Signals
) -> list[str]:
    """Keeps 100 orders in progress until as many have ended as at the peers; returns the accepted
    ids."""
    bearer = {"Authorization": f"Bearer {whole.token('shop')}"}
    _, _, address = whole.env["ORDERSAGA_URL"].rpartition("/")
    sample = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    accepted: list[str] = []

    def place(number: int) -> str | None:
        order = sample[number % len(sample)]
        body = {
            "customer_id": order["customer"],
            "lines": order["lines"],
            "ship_to": {"country": "GB"},
            "payment_token": "tok_visa",
        }
        key = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            connection.request("POST", "/v1/orders", json.dumps(body), {**bearer, **key})
            answer = json.load(connection.getresponse())
            return answer.get("order_id")
        finally:
            connection.close()

    placed = 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    with ThreadPoolExecutor(max_workers=20) as customers:
        while (current := progress())["ended"] < BEFORE_KILL or current["open"] < AT_ONCE / 2:
            if time.monotonic() > deadline:
                raise Problem("Ordersaga makes no progress: the logs of worker and starter say why")
            wanted = range(placed, placed + max(0, AT_ONCE - current["open"]))
            accepted += [order for order in customers.map(place, wanted) if order]
            placed += len(wanted)
            signals.pause(0.05)
    return accepted


def bench_of_ordersaga(data: Path, signals: Signals, seconds: int) -> str:
    """The output of `shop bench` on a separate stack."""
    with opened(data / "ordersaga", fresh=True, signals=signals) as services:
        whole = stacks.Stack("bench", data / "ordersaga", signals, services)
        whole.start()
        say("Ordersaga: shop bench")
        printed = data / "bench.txt"
        with printed.open("w") as file:
            arguments = ["--seconds", str(seconds), "--rounds", "1", "--at-once", str(AT_ONCE)]
            code = whole.hand_over([stacks.binary("shop"), "bench", *arguments], stdout=file)
        if code:
            raise Problem(f"`shop bench` failed: its message above, or {printed}, says why")
        return printed.read_text()


@dataclass
class Found:
    """All results, in the order of the output."""

    figures: list[Figures] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    proven: bool | None = None

    def show(self) -> None:
        if self.figures:
            print(f"\n── {AT_ONCE} orders at once, and {ACCEPTED:,} accepted ──")
            print("\n".join([FIGURES_TITLE, *(one.line() for one in self.figures)]))
        if self.fates:
            print(f"\n── the program killed with -9 under {AT_ONCE} orders, and started again ──")
            print("\n".join([FATES_TITLE, *(fate.line() for fate in self.fates)]))
        if self.proven is not None:
            print(f"`ordersaga prove` afterwards: {'in order' if self.proven else 'NOT in order'}")
        ours = [one for one in self.figures if one.family == "ordersaga"]
        others = [one for one in self.figures if one.family != "ordersaga"]
        if ours:
            print("\n── targets ──")
            print("\n".join(target.line() for target in targets(ours[0], others)))
        for one in self.left_out:
            print(f"NOT measured: {one}")
        print("docs/peers.md says what these figures mean, and what flatters whom.", flush=True)


def compare(asked: argparse.Namespace, signals: Signals) -> int:
    with_ours = not asked.only
    refuse_unfair(with_ours)
    wanted = [peer for peer in ALL if not asked.only or peer.name in asked.only]
    data: Path = asked.data
    data.mkdir(parents=True, exist_ok=True)
    found = Found()
    if with_ours:
        stacks.build(signals)
    if with_ours and not asked.without_rates:
        bench = asked.bench.read_text() if asked.bench else None
        found.figures += of_bench(bench or bench_of_ordersaga(data, signals, asked.seconds))
    tools = fetch_tools(data, wanted, signals)
    can = []
    for peer in wanted:
        why = tools.missing_for(peer)
        if why is None:
            can.append(peer)
        else:
            say(f"{peer.shown} is left out: {why}")
            found.left_out.append(f"{peer.shown}: {why}")
    for peer in [] if asked.without_rates else can:
        found.figures.append(measured(peer, tools, data, signals, asked.seconds))
        print(found.figures[-1].line(), file=sys.stderr, flush=True)
    if not asked.without_kills:
        if with_ours:
            ours, found.proven = ordersaga_killed(data, signals)
            found.fates.append(ours)
        for peer in can:
            for repeats in peer.killed_with:
                found.fates.append(killed(peer, repeats, tools, data, signals))
                print(found.fates[-1].line(), file=sys.stderr, flush=True)
    found.show()
    ours_are_well = all(fate.is_well for fate in found.fates if fate.name == "Ordersaga")
    return 0 if ours_are_well and found.proven is not False else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=stacks.REPO / ".ordersaga" / "peers")
    parser.add_argument("--seconds", type=int, default=15, help="how long each is measured")
    names = [peer.name for peer in ALL]
    parser.add_argument("--only", choices=names, action="append", help="one peer alone")
    parser.add_argument("--bench", type=Path, help="what `make bench` has printed")
    parser.add_argument("--without-kills", action="store_true")
    parser.add_argument("--without-rates", action="store_true")
    asked = parser.parse_args(arguments)
    asked.data = asked.data.absolute()
    if asked.seconds < 1:
        parser.error("`--seconds` is at least 1")
    return asked


def main(arguments: list[str]) -> int:
    asked = parse(arguments)
    return stacks.attempted(lambda: compare(asked, Signals()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
