"""The user that Postgres runs as: it refuses to run as root, so root starts it as another user."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console import Problem


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


def account_for(database: Path) -> Account | None:
    """Returns `None` for a normal user, who runs everything as themselves."""
    return choose_account(database) if os.geteuid() == 0 else None


def choose_account(database: Path) -> Account:
    """The owner of an existing database, otherwise the user `postgres`, otherwise `nobody`."""
    try:
        if database.stat().st_uid != 0:
            return _account(pwd.getpwuid(database.stat().st_uid))
    except (FileNotFoundError, KeyError):
        pass
    for name in ("postgres", "nobody"):
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise Problem(
        "Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it: "
        "run this as a normal user"
    )


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def as_account(account: Account | None) -> dict[str, Any]:
    """Arguments that make `subprocess` start a program as that user."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def is_open_to(account: Account, folder: Path) -> bool:
    """Whether the account can reach the folder through all its parents."""
    for step in [folder, *folder.parents]:
        try:
            status = step.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == account.uid:
            allowed = status.st_mode & 0o100
        elif status.st_gid == account.gid:
            allowed = status.st_mode & 0o010
        else:
            allowed = status.st_mode & 0o001
        if not allowed:
            return False
    return True
