#!/usr/bin/env python3
"""Plants one bug at a time in a copy of the code, and looks whether the tests see it.

Run it through `make mutants`, which has a Postgres, a Temporal and mail servers ready. A bug that
nothing catches, and a bug that cannot be planted, end the run with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from planted import PLANTED, Mutant

ROOT = Path(__file__).resolve().parent.parent

# What was built here, which every copy begins with.
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# A check that hangs has seen the bug, too: nothing hangs without it. A few tests that are named take
# seconds, a whole suite a minute or two.
HANGS_AFTER = {"named": 30.0, "all": 400.0}

# What a check builds. `activities:stock::` runs those of its tests whose name contains `stock::`.
# Chosen out of the whole workspace, a test shares with all others what it is built of.
CHECKS = {
    "domain": ["-p", "domain", "--lib"],
    "schema": ["--workspace", "--test", "schema"],
    "activities": ["--workspace", "--test", "activities"],
    "starter": ["--workspace", "--test", "api"],
    "payments": ["--workspace", "--test", "payments"],
    "shipments": ["--workspace", "--test", "shipments"],
    "refunding": ["--workspace", "--test", "refunding"],
    "units": ["--workspace", "--lib"],
    "programs": ["--workspace", "--bins"],
    "mechanism": ["--workspace", "--test", "mechanism"],
    "saga": ["--workspace", "--test", "saga"],
    "replay": ["--workspace", "--test", "replay"],
    "formats": ["--workspace", "--test", "replay_formats"],
    "recover": ["--workspace", "--test", "recover"],
    "relaying": ["--workspace", "--test", "relaying"],
    "counting": ["--workspace", "--test", "counting"],
    "export": ["--workspace", "--test", "export"],
    "invoicing": ["--workspace", "--test", "invoices"],
    "prove": ["--workspace", "--test", "prove"],
    "rebuild": ["--workspace", "--test", "rebuild"],
    "inbox": ["--workspace", "--example", "inbox"],
    "watch": ["--workspace", "--test", "watch"],
    "connections": ["--workspace", "--test", "connections"],
    "mail": ["--workspace", "--test", "mail"],
    "cli": ["--workspace", "--test", "cli"],
    "counterparts": ["--workspace", "--test", "counterparts"],
    "brokers": ["--workspace", "--test", "brokers"],
    "matrix": ["--workspace", "--test", "matrix"],
    "webhooks": ["--workspace", "--test", "webhooks"],
}
ARGUMENTS = {"matrix": ["--fail-fast", "--give-up-after", "60"]}

# How many bugs of one crate a copy takes at a time.
PORTION = 10


class NotPlanted(Exception):
    """The list of bugs does not fit the code any more."""


@dataclass(frozen=True)
class Copy:
    """A copy of the code, in which bugs are planted, with a folder of its own for what is built.

    Cargo tells a crate of the copy from the same one here by its path inside the workspace, that
    is, not at all: in one folder for both, a later test would run with a bug in it.
    """

    name: str

    @property
    def code(self) -> Path:
        return ROOT / ".ordersaga" / "mutants" / self.name

    @property
    def target(self) -> Path:
        return BUILT / "mutants" / self.name

    def prepare(self) -> None:
        """Takes what git knows of, as it lies here, changed or not."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )
        shutil.rmtree(self.code, ignore_errors=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (self.code / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.code / name)
        self.begin_with_libraries()

    def begin_with_libraries(self) -> None:
        """Takes what is built of other people's libraries, which have no bugs planted."""
        if self.target.exists() or not (BUILT / "debug").exists():
            return
        for part in ("deps", "build", ".fingerprint"):
            built = BUILT / "debug" / part
            shutil.copytree(built, self.target / "debug" / part, copy_function=os.link)
        # Files that cargo would write to are the other folder's files, too: they go first.
        metadata = subprocess.run(
            ["cargo", "metadata", "--no-deps", "--format-version", "1"],
            cwd=self.code, check=True, capture_output=True, text=True,
        )
        packages = json.loads(metadata.stdout)["packages"]
        ours = [f"--package={package['name']}" for package in packages]
        env = {**os.environ, "CARGO_TARGET_DIR": str(self.target)}
        subprocess.run(["cargo", "clean", "--quiet", *ours], cwd=self.code, check=True, env=env)

    @contextmanager
    def planted(self, mutant: Mutant) -> Iterator[None]:
        originals: dict[Path, str] = {}
        try:
            for edit in mutant.edits:
                path = self.code / edit.file
                text = path.read_text()
                if (times := text.count(edit.old)) != 1:
                    raise NotPlanted(f"{edit.file} has {times} times: {edit.old.strip()[:70]!r}")
                originals.setdefault(path, text)
                path.write_text(text.replace(edit.old, edit.new))
            yield
        finally:
            for path, text in originals.items():
                path.write_text(text)

    def cargo(
        self, check: str, *more: str, offline: bool = True, limit: float | None = None
    ) -> int:
        """The exit code of a check; 124 if it hangs."""
        env = {
            **os.environ,
            "SQLX_OFFLINE": str(offline).lower(),
            "RUST_BACKTRACE": "0",
            "CARGO_TARGET_DIR": str(self.target),
        }
        command = ["cargo", "test", "--quiet", "--locked", *CHECKS[check], *more]
        with (self.code / "last.log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=self.code, env=env, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            UNDER_WAY.add(process.pid)
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return 124
            finally:
                # Servers that a test started end with it, however it ended.
                end(process.pid)
                process.wait()
                UNDER_WAY.discard(process.pid)

    def caught_by(self, mutant: Mutant) -> str | None:
        for name in mutant.checks:
            check, _, tests = name.partition(":")
            # A query that was changed is asked of the database: nobody has its answer on file.
            offline = self.cargo(check, "--no-run") == 0
            if not offline and self.cargo(check, "--no-run", offline=False) != 0:
                log = (self.code / "last.log").read_text()
                raise NotPlanted(f"it does not compile:\n{log[-2000:]}")
            arguments = [*ARGUMENTS.get(check, []), *filter(None, [tests])]
            limit = HANGS_AFTER["named" if tests else "all"]
            if code := self.cargo(check, "--", *arguments, offline=offline, limit=limit):
                return f"{name}, which hangs" if code == 124 else name
        return None


# The processes that end when this one is told to.
UNDER_WAY: set[int] = set()


def end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def end_all(*_signal: object) -> None:
    for group in list(UNDER_WAY):
        end(group)
    os._exit(143)


class Report:
    """Prints a line for each bug, as soon as it is known what became of it."""

    def __init__(self, mutants: list[Mutant]) -> None:
        self.mutants = mutants
        self.told = 0
        self.caught = 0
        self.begun = time.monotonic()
        self.one_at_a_time = threading.Lock()

    def of(self, copy: Copy, mutant: Mutant) -> None:
        begun = time.monotonic()
        try:
            with copy.planted(mutant):
                by = copy.caught_by(mutant)
        except NotPlanted as error:
            by, verdict = None, f"NOT PLANTED: {error}"
        else:
            verdict = f"caught by {by}" if by else "NOT CAUGHT"
        took = f"{time.monotonic() - begun:4.0f} s"
        width = max(len(mutant.name) for mutant in self.mutants)
        with self.one_at_a_time:
            self.told += 1
            self.caught += by is not None
            place = f"{self.told:>2}/{len(self.mutants)}"
            print(f"{place} {took}  {mutant.name:<{width}}  {verdict}", flush=True)

    def concludes(self) -> bool:
        minutes = (time.monotonic() - self.begun) / 60
        all_of_them = len(self.mutants)
        print(f"{self.caught} of {all_of_them} planted bugs were caught, in {minutes:.0f} min")
        return self.caught == all_of_them > 0


def portions(mutants: list[Mutant]) -> deque[list[Mutant]]:
    """The bugs of one crate follow each other: a crate is built anew for the next bug only."""
    crates: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        crates.setdefault(mutant.edits[0].file.split("/")[0], []).append(mutant)
    return deque(
        crate[first : first + PORTION]
        for crate in crates.values()
        for first in range(0, len(crate), PORTION)
    )


def one_after_the_other(copy: Copy, left: deque[list[Mutant]], report: Report) -> None:
    copy.prepare()
    while True:
        try:
            portion = left.popleft()
        except IndexError:
            # Another copy has the last one.
            return
        for mutant in portion:
            report.of(copy, mutant)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="bugs whose name contains this")
    parser.add_argument("--in", dest="folder", default="", help="bugs in files whose path contains this")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, end_all)
    signal.signal(signal.SIGINT, end_all)
    subprocess.run(
        ["cargo", "run", "--quiet", "--locked", "--example", "migrate"],
        cwd=ROOT, check=True, env={**os.environ, "SQLX_OFFLINE": "true"},
    )
    mutants = [
        mutant
        for mutant in PLANTED
        if asked.only in mutant.name and asked.folder in mutant.edits[0].file
    ]
    report = Report(mutants)
    left = portions(mutants)
    # Two at once, because building a crate keeps one core busy, and so does a test. Both copies use
    # one Postgres, in which each test has its own database, and one Temporal server.
    with ThreadPoolExecutor() as both:
        under_way = [
            both.submit(one_after_the_other, Copy(name), left, report)
            for name in ("first", "second")
        ]
        for done in under_way:
            done.result()
    return 0 if report.concludes() else 1


if __name__ == "__main__":
    sys.exit(main())
