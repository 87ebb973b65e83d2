#!/usr/bin/env python3
"""Plants one bug at a time in a copy of the code, and looks whether the tests see it.

Run it through `make mutants`, which has a Postgres and a Temporal ready. A bug that nothing
catches, and a bug that cannot be planted, end the run with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from planted import PLANTED, Mutant

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / ".ordersaga" / "mutants"

# Cargo tells a crate of the copy from the same one here by its path inside the workspace, that is,
# not at all: in one folder for both, a later test would run with a bug in it.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutants"

# A check that hangs has seen the bug, too: nothing hangs without it. A few tests that are named take
# seconds, a whole suite a minute or two.
HANGS_AFTER = {"named": 45.0, "all": 400.0}

# What a check builds. `activities:stock::` runs those of its tests whose name contains `stock::`.
# Chosen out of the whole workspace, a test shares with all others what it is built of.
CHECKS = {
    "domain": ["-p", "domain", "--lib"],
    "runtime": ["--workspace", "--lib"],
    "schema": ["--workspace", "--test", "schema"],
    "activities": ["--workspace", "--test", "activities"],
    "starter": ["--workspace", "--test", "api"],
    "payments": ["--workspace", "--test", "payments"],
    "mechanism": ["--workspace", "--test", "mechanism"],
    "saga": ["--workspace", "--test", "saga"],
    "replay": ["--workspace", "--test", "replay"],
    "recover": ["--workspace", "--test", "recover"],
    "matrix": ["--workspace", "--test", "matrix"],
}
ARGUMENTS = {"matrix": ["--fail-fast", "--give-up-after", "60"]}


class NotPlanted(Exception):
    """The list of bugs does not fit the code any more."""


def copy_of_the_code() -> None:
    """What git knows of, as it lies here, changed or not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    shutil.rmtree(COPY, ignore_errors=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    originals: dict[Path, str] = {}
    try:
        for edit in mutant.edits:
            path = COPY / edit.file
            text = path.read_text()
            if (times := text.count(edit.old)) != 1:
                raise NotPlanted(f"{edit.file} has {times} times: {edit.old.strip()[:70]!r}")
            originals.setdefault(path, text)
            path.write_text(text.replace(edit.old, edit.new))
        yield
    finally:
        for path, text in originals.items():
            path.write_text(text)


def libraries_built_before() -> None:
    """Begins with what is built of other people's libraries, which have no bugs planted."""
    built = TARGET.parent / "debug"
    if TARGET.exists() or not built.exists():
        return
    for part in ("deps", "build", ".fingerprint"):
        shutil.copytree(built / part, TARGET / "debug" / part, copy_function=os.link)
    # Files that cargo would write to are the other folder's files, too: they go first.
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"],
        cwd=COPY, check=True, capture_output=True, text=True,
    )
    ours = [f"--package={package['name']}" for package in json.loads(metadata.stdout)["packages"]]
    clean = ["cargo", "clean", "--quiet", *ours]
    subprocess.run(clean, cwd=COPY, check=True, env={**os.environ, "CARGO_TARGET_DIR": str(TARGET)})


def cargo(check: str, *more: str, limit: float | None = None) -> int:
    """The exit code of a check; 124 if it hangs."""
    # A changed query is asked of the database, because nobody has its answer on file.
    env = {**os.environ, "SQLX_OFFLINE": "false", "RUST_BACKTRACE": "0"}
    env["CARGO_TARGET_DIR"] = str(TARGET)
    command = ["cargo", "test", "--quiet", "--locked", *CHECKS[check], *more]
    with (COPY / "last.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=COPY, env=env, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            # Servers that a test started end with it, however it ended.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def caught_by(mutant: Mutant) -> str | None:
    for name in mutant.checks:
        check, _, tests = name.partition(":")
        if cargo(check, "--no-run") != 0:
            log = (COPY / "last.log").read_text()
            raise NotPlanted(f"it does not compile:\n{log[-2000:]}")
        arguments = [*ARGUMENTS.get(check, []), *filter(None, [tests])]
        limit = HANGS_AFTER["named" if tests else "all"]
        if code := cargo(check, "--", *arguments, limit=limit):
            return f"{name}, which hangs" if code == 124 else name
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="bugs whose name contains this")
    only = parser.parse_args().only
    # Whoever ends this ends the check that is under way, too.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    # The bugs of one crate follow each other: a crate is built anew for the next bug only.
    mutants = sorted(
        (mutant for mutant in PLANTED if only in mutant.name),
        key=lambda mutant: mutant.edits[0].file.split("/")[0],
    )
    copy_of_the_code()
    libraries_built_before()
    begun_all = time.monotonic()
    subprocess.run(
        ["cargo", "run", "--quiet", "--locked", "--example", "migrate"],
        cwd=ROOT, check=True, env={**os.environ, "SQLX_OFFLINE": "true"},
    )
    caught = 0
    width = max((len(mutant.name) for mutant in mutants), default=0)
    for number, mutant in enumerate(mutants, 1):
        begun = time.monotonic()
        try:
            with planted(mutant):
                by = caught_by(mutant)
        except NotPlanted as error:
            by, verdict = None, f"NOT PLANTED: {error}"
        else:
            verdict = f"caught by {by}" if by else "NOT CAUGHT"
        caught += by is not None
        took = f"{time.monotonic() - begun:4.0f} s"
        print(f"{number:>2}/{len(mutants)} {took}  {mutant.name:<{width}}  {verdict}", flush=True)
    minutes = (time.monotonic() - begun_all) / 60
    print(f"{caught} of {len(mutants)} planted bugs were caught, in {minutes:.0f} min")
    return 0 if mutants and caught == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
