"""A rolling upgrade from an earlier release of the programs to this one while orders are in progress.

It follows docs/deploys.md: the new release migrates the database, its workers are started beside the
old ones and made current, the APIs are replaced one after the other, and the old workers are stopped
once they are drained.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from console import Problem, say
from processes import Command, Service, Services, Signals, run

DEPLOYMENT = "orders"
BEFORE, AFTER = "before", "after"
WORKERS = ("worker", "second-worker")
MADE_CURRENT_WITHIN_SECONDS = 60.0


def release(build_id: str) -> dict[str, str]:
    """The environment that sets a worker's release."""
    return {"WORKER_DEPLOYMENT": DEPLOYMENT, "WORKER_BUILD_ID": build_id}


def program_of(commit: str, repo: Path, cache: Path, target: Path, signals: Signals) -> Path:
    """`ordersaga` as of this commit, built once; or the program at this path."""
    if Path(commit).is_file():
        return Path(commit).absolute()
    asked = subprocess.run(
        ["git", "-C", repo, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"],
        capture_output=True,
        text=True,
    )
    if asked.returncode != 0:
        raise Problem(f"UPGRADE_FROM: `{commit}` is neither a commit of this repository nor a program")
    kept = cache / f"ordersaga-{asked.stdout.strip()[:12]}"
    if kept.exists():
        return kept
    say(f"building the release of {commit}, from which is upgraded; once, some minutes")
    checkout = cache / f"{kept.name}.checkout"
    _forget(repo, checkout)
    _run(["git", "-C", repo, "worktree", "add", "--detach", checkout, commit], signals)
    try:
        # The shared target folder already has most dependencies.
        env = {**os.environ, "SQLX_OFFLINE": "true", "CARGO_TARGET_DIR": str(target)}
        build = ["cargo", "build", "--release", "--locked", "-p", "ordersaga"]
        _run(build, signals, cwd=checkout, env=env)
        partial = kept.with_suffix(".partial")
        shutil.copy(target / "release" / "ordersaga", partial)
        partial.rename(kept)
    finally:
        _forget(repo, checkout)
    return kept


def _forget(repo: Path, checkout: Path) -> None:
    remove = ["git", "-C", repo, "worktree", "remove", "--force", checkout]
    subprocess.run(remove, capture_output=True)


def _run(command: Command, signals: Signals, **options: object) -> None:
    if run(command, signals, **options) != 0:
        raise Problem(f"`{' '.join(map(str, command))}` failed: its message above says why")


@dataclass
class Upgrade:
    """The requests that `chaos` may make during an upgrade."""

    new: Path
    services: Services
    signals: Signals
    env: Mapping[str, str]
    repo: Path
    # Launches a new worker with this name and environment.
    launch_worker: Callable[[str, Mapping[str, str]], None]
    # Launches both workers with their usual names and addresses.
    launch_workers: Callable[[Mapping[str, str]], None]

    def acts(self) -> dict[tuple[str, str], Callable[[], int]]:
        acts = {
            ("migrate", "starter"): self._migrate,
            ("start-new", "worker"): self._start_new,
            ("make-current", "worker"): lambda: self.make_current(AFTER),
            ("retire-old", "worker"): self._retire_old,
        }
        for name in ("starter", "second-starter", "relay"):
            acts["upgrade", name] = lambda name=name: self._replace(name)
        return acts

    def make_current(self, build_id: str) -> int:
        """Directs new orders to this release; its workers' queues are known shortly after they
        poll."""
        what = ["worker", "deployment", "set-current-version", "--yes"]
        which = ["--deployment-name", DEPLOYMENT, "--build-id", build_id]
        deadline = time.monotonic() + MADE_CURRENT_WITHIN_SECONDS
        while True:
            command = [self.env["TEMPORAL_CLI"], *what, *which]
            asked = subprocess.run(
                command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            if asked.returncode == 0:
                return self.services.pid_of("worker")
            if time.monotonic() > deadline:
                raise Problem(f"release `{build_id}` is not made current: {asked.stderr.strip()}")
            self.signals.pause(0.5)

    def _migrate(self) -> int:
        _run([self.new, "migrate"], self.signals, env=self.env, cwd=self.repo)
        return self.services.pid_of("starter")

    def _start_new(self) -> int:
        for name in WORKERS:
            self.launch_worker(f"new-{name}", release(AFTER))
        return self.services.pid_of(f"new-{WORKERS[0]}")

    def _retire_old(self) -> int:
        """The new workers take the old ones' names and ports; for a moment both pairs run."""
        for name in WORKERS:
            self.services.retire(name)
        self.launch_workers(release(AFTER))
        for name in WORKERS:
            self.services.retire(f"new-{name}")
        return self.services.pid_of(WORKERS[0])

    def _replace(self, name: str) -> int:
        def other(service: Service) -> None:
            service.command = [self.new, *service.command[1:]]

        return self.services.replace(name, other)
