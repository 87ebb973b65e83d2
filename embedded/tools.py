"""Tools that check what the project publishes or exports, fetched with pip into the cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from account import account_for
from console import Problem, say
from fetch import cache_folder, one_at_a_time, why_pip_failed
from pins import pinned
from processes import Signals


class Tools:
    """Programs of pinned Python packages, isolated from other installed packages."""

    def __init__(self, *packages: str) -> None:
        cache = cache_folder(os.environ, account_for(Path.cwd()))
        with one_at_a_time(cache, Signals()):
            self.folder = fetched(cache, packages)

    def script(self, name: str) -> list[str]:
        """The command of a package's script."""
        return [sys.executable, str(self.folder / "bin" / name)]

    def env(self) -> dict[str, str]:
        """The environment in which these packages take precedence over others."""
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    def passes(self, command: list[str], cwd: Path) -> bool:
        """Whether it exits with 0, run in this folder."""
        return subprocess.run(command, env=self.env(), cwd=cwd).returncode == 0


def fetched(cache: Path, packages: tuple[str, ...]) -> Path:
    """The folder of these packages in the cache; call it with the cache locked.

    pip accepts only files whose hashes are in `embedded/pins`.
    """
    pins = pinned(packages)
    # Other pins are other files, even if the packages' own versions are the same.
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    folder = cache / f"{pins.stem}-{digest}"
    if folder.exists():
        return folder
    say(f"fetching {' and '.join(packages)} into {cache}, once")
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
        tools = Path(scratch, "tools")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
        wanted = ["install", "--ignore-installed", "--retries", "2", "--target", str(tools)]
        asked = [*pip, *wanted, "--require-hashes", "--requirement", str(pins)]
        done = subprocess.run(asked, stdout=sys.stderr.fileno(), stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Problem(why_pip_failed(f"cannot fetch {packages[0]}", done.stderr))
        tools.rename(folder)
    return folder
