#!/usr/bin/env python3
"""Feeds the readers of outside bytes with ever other bytes, and looks whether they keep their promises.

  run.py [--seconds N] [--only TARGET] [--input FILE] [--where-possible]

Run it through `make fuzz-parsers`. It builds the program with the coverage instrumentation that the
pinned compiler has, and gives each target so many seconds, from its inputs in `fuzz/corpus` and from
what earlier runs have found (in the build folder). With an input, only that one is fed, to one
target. Ends with 1 if a promise is broken, and says by which input.

libFuzzer is written in C++, so a C++ compiler is needed; `--where-possible` says so and ends well
where there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
WORDS = ROOT / "fuzz" / "words.dict"
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "fuzz"

# Inputs that are elsewhere in the repository already.
ALSO = {"histories": ROOT / "worker" / "tests" / "histories"}

# Compiles the repository's own crates with coverage instrumentation.
COMPILER = ROOT / "fuzz" / "instrumented"

# Longer than any seed, and than every limit that a reader has; a history is long.
LENGTH_MAX = 16_384
LENGTHS_MAX = {"histories": 65_536}

# An input that takes longer, or more memory, is a broken promise too.
INPUT_SECONDS_MAX = 5
MEMORY_MB_MAX = 2_048

DONE = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+)", re.MULTILINE)


class Problem(Exception):
    """Something the person can put right: its text says what to do next."""


class NoCompiler(Problem):
    """There is no C++ compiler."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            f"libFuzzer needs a C++ compiler, and there is no {wanted}.\n"
            "Install one: apt-get install g++, dnf install gcc-c++, or xcode-select --install; "
            "or name one in CXX."
        )


def say(text: str) -> None:
    print(text, flush=True)


def need_compiler() -> None:
    wanted = os.environ.get("CXX", "c++")
    if not shutil.which(wanted):
        raise NoCompiler(wanted)


def build() -> Path:
    """The program with all targets."""
    need_compiler()
    # What a build script looks at, such as CXX, stays as it is: else libraries are built anew.
    environment = {
        **os.environ,
        "RUSTC_WORKSPACE_WRAPPER": str(COMPILER),
        "SQLX_OFFLINE": "true",
    }
    begun = time.monotonic()
    say("building; the first time takes as long as building the whole shop")
    # Everything is selected, as for the tests, so that no library is built anew with fewer features.
    command = ["cargo", "test", "--workspace", "--test", "fuzz", "--no-run", "--quiet", "--locked"]
    built = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"],
        cwd=ROOT,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if built.returncode:
        raise Problem("the fuzz targets do not build")
    say(f"built in {time.monotonic() - begun:.0f} s")
    told = (json.loads(line) for line in built.stdout.splitlines())
    programs = [message["executable"] for message in told if message.get("executable")]
    return Path(programs[-1])


def targets(program: Path, only: str | None) -> list[str]:
    environment = {**os.environ, "ORDERSAGA_FUZZ_TARGET": ""}
    told = subprocess.run([program], env=environment, check=True, capture_output=True, text=True)
    known = told.stdout.split()
    seeded = sorted(folder.name for folder in CORPUS.iterdir() if any(folder.iterdir()))
    if known != sorted(set(seeded) | set(ALSO)):
        raise Problem(f"each target has a folder of inputs in {CORPUS.relative_to(ROOT)}: {known}")
    if only and only not in known:
        raise Problem(f"the targets are {', '.join(known)}; there is no {only}")
    return [only] if only else known


def feed(program: Path, target: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    crashes = BUILT / "crashes" / target
    crashes.mkdir(parents=True, exist_ok=True)
    limits = [
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MB_MAX}",
        "-detect_leaks=0",
        f"-artifact_prefix={crashes}/",
    ]
    environment = {**os.environ, "ORDERSAGA_FUZZ_TARGET": target}
    return subprocess.run(
        [program, *limits, *arguments],
        env=environment,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def stands(program: Path, target: str, seconds: int) -> bool:
    """Whether the target's promises hold for as long as it is fed."""
    found = BUILT / "found" / target
    found.mkdir(parents=True, exist_ok=True)
    seeds = [folder for folder in (CORPUS / target, ALSO.get(target)) if folder and folder.exists()]
    arguments = [
        f"-max_total_time={seconds}",
        f"-max_len={LENGTHS_MAX.get(target, LENGTH_MAX)}",
        f"-dict={WORDS}",
        # What is new goes to the first folder; the repository's own are read only.
        *map(str, [found, *seeds]),
    ]
    fed = feed(program, target, arguments)
    reached = DONE.findall(fed.stderr)
    inputs, places = map(int, reached[-1]) if reached else (0, 0)
    outcome = "broken" if fed.returncode else "ok"
    told = [f"{target:<16}{inputs:>12,} inputs{places:>8,} places in the code   {outcome}"]
    if fed.returncode:
        told.append(cause(fed.stderr))
        for written in re.findall(r"Test unit written to (\S+)", fed.stderr)[-1:]:
            told.append(f"  by the input {written}")
            told.append(f"  again: make fuzz-parsers ONLY={target} INPUT={written}")
    say("\n".join(told))
    return fed.returncode == 0


def cause(told: str) -> str:
    """What the program said, without libFuzzer's own lines of progress and without the dump."""
    lines = [line for line in told.splitlines() if not line.startswith(("#", "INFO:", "==", "\t"))]
    starts = [number for number, line in enumerate(lines) if "panicked at" in line]
    starts += [number for number, line in enumerate(lines) if "SUMMARY:" in line]
    first = min(starts, default=max(len(lines) - 8, 0))
    return "\n".join(f"  {line}" for line in lines[first : first + 8])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", metavar="TARGET", help="only this target")
    parser.add_argument("--input", type=Path, metavar="FILE", help="only this input")
    parser.add_argument("--where-possible", action="store_true", help="be content without C++")
    wanted = parser.parse_args()
    if wanted.input and not wanted.only:
        parser.error("an input is for one target: --only says which")
    try:
        program = build()
    except NoCompiler as problem:
        if not wanted.where_possible:
            raise
        say(f"the readers of outside bytes were NOT fuzzed: {problem}")
        return 0
    chosen = targets(program, wanted.only)
    if wanted.input:
        fed = feed(program, chosen[0], [str(wanted.input)])
        say(cause(fed.stderr) if fed.returncode else f"{chosen[0]} keeps its promises with it")
        return 1 if fed.returncode else 0
    # Each target keeps one core busy.
    with ThreadPoolExecutor(os.cpu_count()) as cores:
        stood = list(cores.map(lambda target: stands(program, target, wanted.seconds), chosen))
    broken = [target for target, stands_firm in zip(chosen, stood) if not stands_firm]
    if broken:
        say(f"broken: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Problem, OSError) as problem:
        print(f"fuzz-parsers: {problem}", file=sys.stderr)
        sys.exit(1)
