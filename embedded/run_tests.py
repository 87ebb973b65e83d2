"""Builds all tests, and runs each test program as soon as it is built, two at once.

    run_tests.py

`cargo test` runs the first program after the last one is built, and one after the other. Most tests
wait for servers, so half of the processors' time would be unused then.

Each program runs as `cargo test` would run it: in its package's folder, one line says that it runs,
and its output follows when it has ended. A program that fails does not end the others. Exits with 1 if
a program fails, and with cargo's code if something cannot be built.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent

# How many programs run at once.
LANES = 2

# Counts what the whole of Postgres writes, so nothing else may use it meanwhile.
ALONE = ("cost",)


@dataclass(frozen=True)
class Program:
    """A built test program."""

    name: str
    kind: str
    source: Path
    folder: Path
    executable: Path

    @property
    def title(self) -> str:
        return f"{short(self.source)} ({short(self.executable)})"


def short(path: Path) -> Path:
    return path.relative_to(REPO) if path.is_relative_to(REPO) else path


def programs(messages: Iterable[str]) -> Iterator[Program]:
    """The test programs that cargo reports as built, in that order (`--message-format=json`)."""
    for line in messages:
        if not line.startswith("{"):
            continue
        message = json.loads(line)
        if message.get("reason") != "compiler-artifact" or not message["profile"]["test"]:
            continue
        if message.get("executable"):
            yield Program(
                message["target"]["name"],
                message["target"]["kind"][0],
                Path(message["target"]["src_path"]),
                Path(message["manifest_path"]).parent,
                Path(message["executable"]),
            )


def have_binaries(packages: Iterable[dict[str, Any]]) -> set[Path]:
    """The folders of the packages that also build other programs (`cargo metadata`).

    Their integration tests run these, and cargo may build a test before the program that it runs.
    """
    return {
        Path(package["manifest_path"]).parent
        for package in packages
        if any("bin" in target["kind"] for target in package["targets"])
    }


class Runs:
    """Runs programs and prints what they print."""

    def __init__(self) -> None:
        self._printing = threading.Lock()
        self._lanes = ThreadPoolExecutor(LANES)
        self._running: list[Future[tuple[Program, int]]] = []

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, *_: object) -> None:
        self._lanes.shutdown(cancel_futures=True)

    def start(self, program: Program) -> None:
        self._running.append(self._lanes.submit(self.run, program))

    def failures(self) -> list[str]:
        """Waits for all programs; returns those that have failed."""
        ended = [running.result() for running in self._running]
        return [program.title for program, code in ended if code != 0]

    def run(self, program: Program) -> tuple[Program, int]:
        self.say(f"     Running {program.title}\n")
        env = {**os.environ, "CARGO_MANIFEST_DIR": str(program.folder)}
        ran = subprocess.run(
            [program.executable],
            cwd=program.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said = ran.stdout.decode(errors="replace")
        self.say(f"{program.title} has ended with {ran.returncode}:\n{said}\n")
        return program, ran.returncode

    def say(self, text: str) -> None:
        with self._printing:
            sys.stdout.write(text)
            sys.stdout.flush()


def main() -> int:
    cargo = os.environ.get("CARGO", "cargo")
    build = [cargo, "test", "--workspace", "--locked", "--no-run", "--message-format"]
    described = [cargo, "metadata", "--no-deps", "--locked", "--format-version", "1"]
    metadata = json.loads(subprocess.check_output(described, cwd=REPO))
    binaries = have_binaries(metadata["packages"])
    with Runs() as runs:
        building = subprocess.Popen(
            [*build, "json-render-diagnostics"], cwd=REPO, stdout=subprocess.PIPE, text=True
        )
        assert building.stdout is not None
        alone, waiting = [], []
        for program in programs(building.stdout):
            if program.name in ALONE:
                alone.append(program)
            elif program.kind == "test" and program.folder in binaries:
                waiting.append(program)
            else:
                runs.start(program)
        built = building.wait()
        if built == 0:
            for program in waiting:
                runs.start(program)
        failed = runs.failures()
        ended = [runs.run(program) for program in alone if built == 0]
    failed += [program.title for program, code in ended if code != 0]
    if built != 0:
        return built
    documented = subprocess.run([cargo, "test", "--workspace", "--locked", "--doc"], cwd=REPO)
    if documented.returncode != 0:
        failed.append("the examples in the documentation")
    for title in failed:
        print(f"FAILED: {title}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
