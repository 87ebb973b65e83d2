"""PgBouncer in transaction mode, between the programs and Postgres."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from account import Account
from console import Problem
from fetch import version_of
from processes import Service

# Earlier versions lose a session's prepared statements.
OLDEST = (1, 21)


def pgbouncer() -> Path:
    named = os.environ.get("PGBOUNCER", "pgbouncer")
    found = shutil.which(named)
    if found is None:
        raise Problem(
            "there is no PgBouncer: install version 1.21 or later from https://www.pgbouncer.org, "
            "or name its program in PGBOUNCER"
        )
    version = version_of(Path(found))
    if version[:2] < OLDEST:
        told = ".".join(map(str, version))
        raise Problem(
            f"{found} is PgBouncer {told}, which loses prepared statements in transaction mode: "
            "install 1.21 or later, or name its program in PGBOUNCER"
        )
    return Path(found)


@dataclass(frozen=True)
class Pooler:
    program: Path
    data: Path
    port: int
    account: Account | None

    def service(self, urls: list[str]) -> Service:
        """Allows the users of these URLs, with their passwords."""
        return Service(
            name="pgbouncer",
            command=[self.program, self._configured(urls)],
            log=self.data / "logs" / "pgbouncer.log",
            env=os.environ,
            account=self.account,
            stop_signal=signal.SIGINT,
            ready=self._answers,
        )

    def url(self, direct: str) -> str:
        """The same database through the pooler."""
        parts = urlsplit(direct)
        user, _, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self.port}"))

    def _configured(self, urls: list[str]) -> Path:
        folder = self.data / "pgbouncer"
        folder.mkdir(mode=0o700, exist_ok=True)
        users = folder / "users.txt"
        parts = [urlsplit(url) for url in urls]
        users.write_text("".join(f'"{one.username}" "{one.password}"\n' for one in parts))
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"""[databases]
* = host={parts[0].hostname} port={parts[0].port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
max_prepared_statements = 200
ignore_startup_parameters = options, extra_float_digits
default_pool_size = 20
max_client_conn = 1000
"""
        )
        if self.account:
            for path in (folder, users, settings):
                os.chown(path, self.account.uid, self.account.gid)
        return settings

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        except OSError:
            return False
        return True
