"""Public libraries with which receivers verify webhooks: tests verify our signatures with them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from console import say
from tools import fetched

PYTHON = "standardwebhooks==1.1.0"
NODE = "standardwebhooks@1.1.1"


def verifiers(cache: Path) -> dict[str, str]:
    """The environment in which each language finds its library. Prints what is not available; but
    Python's library is required wherever pip is installed."""
    found = {"STANDARD_WEBHOOKS_PYTHON": _for_python(cache), "STANDARD_WEBHOOKS_NODE": _for_node(cache)}
    return {name: str(folder) for name, folder in found.items() if folder}


def _for_python(cache: Path) -> Path | None:
    if find_spec("pip") is None:
        say("webhooks are not verified with Python's library: there is no pip")
        return None
    return fetched(cache, (PYTHON,))


def _for_node(cache: Path) -> Path | None:
    folder = cache / f"npm-{NODE.replace('@', '-')}"
    if folder.exists():
        return folder / "node_modules"
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        say("webhooks are not verified with JavaScript's library: there is no node, or no npm")
        return None
    say(f"fetching {NODE} for node into {cache}, once")
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
        packages = Path(scratch, "packages")
        wanted = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(packages)]
        if subprocess.run([npm, *wanted, NODE], stdout=sys.stderr.fileno()).returncode:
            say("webhooks are not verified with JavaScript's library: npm's message above says why")
            return None
        packages.rename(folder)
    return folder / "node_modules"
