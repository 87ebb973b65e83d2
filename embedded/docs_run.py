#!/usr/bin/env python3
"""Runs the commands in README and docs verbatim.

  docs_run.py [GROUP...]    runs these groups of blocks, or all of them (see docs_blocks.py)

The blocks run in the environment of a reader who does not use the launcher: a Postgres server
without Ordersaga's roles, and a Temporal server without its namespace, search attributes and
settings. The group `cluster`, which always runs first, contains the commands of docs/going-live.md
for such servers. Each block runs in a new shell with the variables that earlier blocks have set, and
fails with the first command that fails.

The commands of other blocks are only looked up: `ordersaga` and `temporal` must know each subcommand
and each option.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import docs_blocks
from account import account_for
from console import Problem, Stopped, say
from data_folder import opened
from docs_blocks import REPO, Block
from fetch import cache_folder, one_at_a_time, postgres_programs, temporal_cli
from ports import Ports, listens
from postgres import Postgres, make_reachable
from processes import Service, Services, Signals, send
from stack import allow_many_connections, binary, build
from temporal_server import clean_env

CLUSTER = "cluster"
NEEDED = ("bash", "curl", "openssl")
BLOCK_SECONDS = 300.0
POSTGRES_PORT = 55432
TEMPORAL_PORT = 17233
PORTS = {
    "ORDERSAGA_LISTEN": 18080,
    "ORDERSAGA_OPS_LISTEN": 19466,
    "WORKER_OPS_LISTEN": 19464,
    "RELAY_OPS_LISTEN": 19467,
}
# Variables that would select another server, or another shop, than the pages set up.
FOREIGN = re.compile(
    r"^(ORDERSAGA|TEMPORAL|WORKER|RELAY|STARTER|MIGRATE|DATABASE|MAIL|STRIPE|WEBHOOK|PG|BANK|RECONCILE)[A-Z_]*"
)
KEPT = ("ORDERSAGA_CACHE", "ORDERSAGA_PROFILE")


class Shells:
    """The shells of one run, in sequence, and the processes that they leave running."""

    def __init__(self, data: Path, env: dict[str, str], signals: Signals) -> None:
        self._data, self._env, self._signals = data, env, signals
        self._variables = data / "variables.sh"
        self._variables.write_text("")
        self._groups: list[int] = []

    def run(self, block: Block) -> None:
        """**Raises** `Problem` with the shell's output if a command fails or does not end."""
        script = f"set -euo pipefail -a\n. {self._variables}\n{block.text}\nexport -p > {self._variables}\ndeclare -f >> {self._variables}\n"
        log = self._data / "logs" / f"block-{len(self._groups) + 1}.log"
        began = time.monotonic()
        with log.open("wb") as said:
            shell = subprocess.Popen(
                ["bash", "-c", script],
                cwd=REPO,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._groups.append(shell.pid)
        while shell.poll() is None:
            self._signals.pause(0.1)
            if time.monotonic() - began > BLOCK_SECONDS:
                raise Problem(f"{block.where} does not end: {tail(log)}")
        if shell.returncode != 0:
            raise Problem(f"{block.where} fails ({shell.returncode}): {tail(log)}")
        say(f"{block.where} runs ({time.monotonic() - began:.1f} s)")

    def end(self) -> None:
        """Stops what the blocks have left running, such as `ordersaga worker &`."""
        for group in reversed(self._groups):
            send(-group, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while any(runs(group) for group in self._groups) and time.monotonic() < deadline:
            time.sleep(0.1)
        for group in self._groups:
            send(-group, signal.SIGKILL)


def runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-25:]
    return "\n    ".join(["", *lines]) if lines else "it says nothing"


def look_up(block: Block, programs: dict[str, str], known: dict[tuple[str, ...], str]) -> list[str]:
    """Commands and options in a block that its programs do not know."""
    wrong = []
    for program, path in programs.items():
        for words in docs_blocks.commands(block.text, program):
            subcommands: list[str] = []
            options = {word.split("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)}
            for word in words:
                if not re.fullmatch(r"[a-z][a-z-]*", word):
                    break
                if help_of(path, (*subcommands, word), known) is None:
                    break
                subcommands.append(word)
            # `temporal` does not list a parent command's options again.
            above = range(1, len(subcommands)) if program == "temporal" else ()
            asked = [tuple(subcommands[:count]) for count in (*above, len(subcommands))]
            told = "\n".join(help_of(path, words, known) or "" for words in asked)
            shown = " ".join([program, *words])
            if not subcommands:
                wrong.append(f"{block.where}: `{shown}`: there is no such command")
            wrong += [
                f"{block.where}: `{shown}`: {' '.join([program, *subcommands])} has no {option}"
                for option in sorted(options)
                if not re.search(rf"{option}\b(?!-)", told)
            ]
    return wrong


def help_of(path: str, words: tuple[str, ...], known: dict[tuple[str, ...], str]) -> str | None:
    """The command's help; empty if the command does not exist."""
    key = (path, *words)
    if key not in known:
        asked = subprocess.run([path, *words, "--help"], capture_output=True, text=True)
        told = asked.stdout + asked.stderr
        # `temporal` answers an unknown word with the help of its parent command.
        before = known.get(key[:-1]) if words else None
        known[key] = told if asked.returncode == 0 and told != before else ""
    return known[key] or None


def servers(data: Path, services: Services, signals: Signals) -> dict[str, str]:
    """Starts both servers with their defaults, and returns their addresses."""
    account = account_for(data / "postgres")
    make_reachable(data, account)
    cache = cache_folder(os.environ, account)
    ports = Ports()
    with one_at_a_time(cache, signals):
        programs = postgres_programs(cache, account, signals)
        temporal = temporal_cli(cache, signals)
        port = ports.choose("the docs' Postgres", POSTGRES_PORT)
        postgres = Postgres(programs, data, port, account, fast=True)
        services.launch(postgres.service(signals))
        temporal_port = ports.choose("the docs' Temporal", TEMPORAL_PORT)
        where = ["--ip", "127.0.0.1", "--port", str(temporal_port), "--headless", "--log-level", "error"]
        server = Service(
            name="temporal",
            command=[temporal, "server", "start-dev", *where],
            log=data / "logs" / "temporal.log",
            env={**clean_env(os.environ), "TEMPORAL_VERSION_CHECK_DISABLED": "1"},
            ready=partial(listens, temporal_port),
        )
        services.launch(server)
        listen = {name: f"127.0.0.1:{ports.choose(name, usual)}" for name, usual in PORTS.items()}
    kept = {n: v for n, v in os.environ.items() if n in KEPT or not FOREIGN.match(n)}
    folders = [str(Path(binary("ordersaga")).parent), str(temporal.parent), str(programs)]
    return {
        **kept,
        **listen,
        "PATH": os.pathsep.join([*folders, os.environ["PATH"]]),
        "POSTGRES_HOST": f"127.0.0.1:{port}",
        "ADMIN_DATABASE_URL": postgres.admin_url(),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal_port}",
        "TEMPORAL_NAMESPACE": "shop",
        "TEMPORAL_CONFIG_FILE": os.devnull,
        "PGSSLMODE": "disable",
    }


def run(groups: list[str], data: Path, signals: Signals) -> int:
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        # Tools that the programs themselves do not need, so they may be missing.
        say(f"the commands of README and docs were NOT run: install {', '.join(missing)}")
        return 0
    if "--json" not in subprocess.run(["curl", "--help", "all"], capture_output=True, text=True).stdout:
        say("the commands of README and docs were NOT run: curl is older than 7.82")
        return 0
    blocks = [block for page in docs_blocks.pages() for block in docs_blocks.blocks_of(page)]
    there = {block.group for block in blocks if block.group}
    if unknown := set(groups) - there:
        raise Problem(f"no block has run={', run='.join(sorted(unknown))}; there are: {', '.join(sorted(there))}")
    chosen = [block for block in blocks if block.group and (not groups or block.group in groups)]
    first = [block for block in blocks if block.group == CLUSTER]
    with opened(data, fresh=True, signals=signals) as services:
        build(signals)
        env = servers(data, services, signals)
        shells = Shells(data, env, signals)
        try:
            for block in [*first, *(block for block in chosen if block.group != CLUSTER)]:
                shells.run(block)
        finally:
            shells.end()
        programs = {
            "ordersaga": binary("ordersaga"),
            "temporal": str(shutil.which("temporal", path=env["PATH"])),
        }
        known: dict[tuple[str, ...], str] = {}
        shown = [block for block in blocks if block.why_not]
        wrong = [line for block in shown for line in look_up(block, programs, known)]
    for line in wrong:
        say(line)
    if not wrong:
        say(f"{len(chosen)} blocks run, and {len(shown)} show commands that there are")
    return 1 if wrong else 0


def main(arguments: list[str]) -> int:
    allow_many_connections()
    try:
        return run(arguments, REPO / ".ordersaga" / "docs", Signals())
    except Problem as problem:
        say(str(problem))
        return 1
    except Stopped as stopped:
        return 128 + stopped.number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
