"""The data folder of one stack: databases, passwords, logs."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from console import Problem
from fetch import NOT_WRITABLE, locked
from postgres import remove_linked
from processes import Services, Signals

# Both the lock and the mark that the folder belongs to the launcher, which may empty it.
LOCK = "ordersaga.lock"


@contextmanager
def opened(data: Path, fresh: bool, signals: Signals) -> Iterator[Services]:
    """Locks the folder for one launcher, and stops services left over from an earlier one."""
    if data.is_dir() and any(data.iterdir()) and not (data / LOCK).exists():
        raise Problem(f"{data} holds other files: choose an empty or new folder with --data")
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / LOCK).open("a+")
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        why = "is read only" if error.errno == errno.EROFS else "is another user's"
        raise Problem(
            f"cannot write {data}, which {why}: choose another folder with --data, "
            "or make this one writable"
        ) from None
    with lock:
        if not locked(lock):
            lock.seek(0)
            raise Problem(
                f"{data} is in use by another stack (pid {lock.read()}): end that one, "
                "or choose another folder with --data"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        services = Services(signals, record=data / "processes.json")
        services.end_left_over()
        if fresh:
            empty(data)
        (data / "logs").mkdir(exist_ok=True)
        try:
            yield services
        finally:
            services.stop()


def empty(data: Path) -> None:
    remove_linked(data)
    for entry in data.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
