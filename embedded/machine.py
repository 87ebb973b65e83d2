"""Checks the machine's requirements before a build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from console import Problem, say

GIB = 1024**3
# The size of a build from scratch, with some reserve.
BUILD_GIB = 5
# With less memory, two concurrent compilers do not fit beside everything else.
SMALL_GIB = 4


def find_cargo() -> str:
    """**Raises** `Problem` if there is none."""
    # A shell opened before Rust was installed does not have it on PATH yet.
    cargo = shutil.which("cargo") or shutil.which(Path("~/.cargo/bin/cargo").expanduser())
    if cargo is None:
        raise Problem("there is no cargo: install Rust from https://rustup.rs and run this again")
    return str(cargo)


def refuse_old_rust(cargo: str, repo: Path) -> None:
    """rustup takes the version from rust-toolchain.toml; a distribution's cargo has a fixed
    version."""
    wanted = version(re.search(r'channel = "([\d.]+)"', (repo / "rust-toolchain.toml").read_text()))
    said = subprocess.run([cargo, "--version"], cwd=repo, capture_output=True, text=True)
    found = version(re.search(r"cargo (\d[\d.]*)", said.stdout))
    if said.returncode != 0:
        last = said.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise Problem(f"cargo does not run: it says `{last[0]}`; put that right and run this again")
    if found and found < wanted:
        shown = ".".join(map(str, found))
        raise Problem(
            f"Rust {shown} is too old, and {'.'.join(map(str, wanted))} is needed: install rustup "
            "from https://rustup.rs, which takes the right version by itself, and run this again"
        )


def version(found: re.Match[str] | None) -> tuple[int, ...]:
    return tuple(int(part) for part in found[1].split(".") if part) if found else ()


def refuse_full_disk(target: Path) -> None:
    """Without this check, a build that fills the disk ends with an obscure compiler error."""
    if target.exists():
        # Most of it is built already.
        return
    there = next(folder for folder in target.absolute().parents if folder.exists())
    free = shutil.disk_usage(there).free
    if free < BUILD_GIB * GIB:
        raise Problem(
            f"{there} has {free / GIB:.1f} GiB left, and the build takes about {BUILD_GIB}: make "
            "room, or set CARGO_TARGET_DIR to a folder on another disk"
        )


def build_env() -> dict[str, str]:
    """The environment for cargo: on a small machine, compiles one crate at a time."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory >= SMALL_GIB * GIB or "CARGO_BUILD_JOBS" in os.environ:
        return dict(os.environ)
    say(
        f"this machine has {memory / GIB:.1f} GiB of memory, so one crate is compiled at a time, "
        "which takes longer; CARGO_BUILD_JOBS changes that"
    )
    return {**os.environ, "CARGO_BUILD_JOBS": "1"}
