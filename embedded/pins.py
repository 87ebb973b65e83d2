#!/usr/bin/env python3
"""The hashes of all packages fetched from the Python package index, in the files of `embedded/pins`.

Each file lists one set of packages that are fetched together, with all dependencies, and the SHA-256
of each file that pip may download. pip then rejects any other file on the index.

  pins.py PACKAGE==VERSION...    writes the file of a set, named after its first package
  pins.py --alone PACKAGE==VERSION
                                 the same without dependencies, for a wheel that is unpacked
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from console import Problem, say

PINS = Path(__file__).resolve().parent / "pins"

# Resolves versions and writes hashes. It is fetched with its own pins.
RESOLVER = "uv==0.13.9"

# The oldest Python for which a set is resolved; a set that needs a later one says so.
OLDEST_PYTHONS = ("3.9", "3.10", "3.11")


def pinned(packages: tuple[str, ...], pins: Path = PINS) -> Path:
    """The file that pins this set.

    **Raises** `Problem` if there is none, or if it pins other versions: after a change of versions,
    write it again.
    """
    file = pins / f"{name_of(packages[0])}.txt"
    again = f"python3 embedded/pins.py {' '.join(packages)}"
    if not file.exists():
        raise Problem(f"{packages[0]} has no hashes in {pins}: run `{again}` and commit the file")
    lines = file.read_text().splitlines()
    missing = [package for package in packages if not any(is_pin(line, package) for line in lines)]
    if missing:
        raise Problem(f"{file} does not pin {missing[0]}: run `{again}` and commit the file")
    return file


def is_pin(line: str, package: str) -> bool:
    """Whether the line pins exactly this package and version, in `uv`'s format."""
    words = line.split()
    return bool(words) and words[0].lower() == package.lower()


def name_of(package: str) -> str:
    return package.partition("==")[0].lower()


def write(packages: tuple[str, ...], alone: bool) -> Path:
    """Resolves the set again, and writes its file."""
    # Imported here, because these modules fetch with the pins that this module reads.
    from tools import Tools

    uv = str(Tools(RESOLVER).folder / "bin" / "uv")
    file = PINS / f"{name_of(packages[0])}.txt"
    plain = ["--quiet", "--no-header", "--no-annotate", "--no-config", "--universal"]
    for python in OLDEST_PYTHONS:
        wanted = [*plain, "--generate-hashes", "--python-version", python, *(["--no-deps"] if alone else [])]
        resolved = subprocess.run(
            [uv, "pip", "compile", *wanted, "-", "--output-file", str(file)],
            input="\n".join(packages),
            text=True,
            capture_output=True,
        )
        if resolved.returncode == 0:
            return file
    raise Problem(f"cannot pin {packages[0]}: {resolved.stderr.strip()}")


def main(arguments: list[str]) -> int:
    alone = arguments[:1] == ["--alone"]
    packages = tuple(arguments[1:] if alone else arguments)
    if not packages or not all("==" in package for package in packages):
        say("name each package with its version: pins.py PACKAGE==VERSION...")
        return 2
    say(f"wrote {write(packages, alone)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Problem as problem:
        say(str(problem))
        sys.exit(1)
