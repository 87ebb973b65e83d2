"""Postgres on one machine: its data folder, settings and roles."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from account import Account, is_open_to
from console import Problem, say
from fetch import version_of
from kept_secrets import kept_secrets
from processes import Service, Services, Signals, command_line, run

ROLES = Path(__file__).with_name("roles.sql")
# The place for root's database if the data folder is closed to the user that Postgres runs as.
ROOT_DATA = Path("/var/lib/ordersaga")
# Where Linux keeps files in memory.
IN_MEMORY = Path("/dev/shm")
# How much memory must be available for the tests' database to be kept there, in bytes: it takes up
# to 2 GiB, and the tests as much again.
MEMORY_NEEDED = 8 << 30

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    # Money: an acknowledged payment must survive a power cut.
    "synchronous_commit": "on",
    # 2,500 orders a second write a GB of WAL in half a minute: with Postgres's default of 1 GB, a
    # checkpoint would begin in the middle of the burst.
    "max_wal_size": "4GB",
}
# The sandboxes' tables stand for the records of an external provider and carrier, so they survive
# when the shop's database is set back. In the order of their references, each with its sequence's
# column, if any.
THE_PARTIES_OWN = {
    "sandbox_provider.payments": "payment_id",
    "sandbox_provider.refunds": "refund_id",
    "sandbox_provider.payouts": "payout_id",
    "sandbox_provider.balance_transactions": "transaction_id",
    "sandbox_provider.outages": None,
    "sandbox_provider.repairs": None,
    "sandbox_provider.behaviours": "behaviour_id",
    "sandbox_provider.late_requests": "request_id",
    "sandbox_carrier.shipments": "shipment_id",
    "sandbox_carrier.behaviours": "behaviour_id",
    "sandbox_carrier.late_requests": "request_id",
}
# The limits that each program sets for its connections, in its `PoolSettings`.
LIMITS = {
    "worker": {"statement_timeout": "8s", "lock_timeout": "1s"},
    "starter": {"statement_timeout": "4s", "lock_timeout": "2s"},
    "relay": {"statement_timeout": "60s", "lock_timeout": "5s"},
}
# The roles with a password.
LOGINS = ("superuser", "owner", "worker", "starter", "relay")
# For tests only: their data is disposable, so nothing waits for the disk. Their passwords are random,
# so one hash iteration is enough; 4096 cost an unoptimised program 60 ms for each connection.
FAST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "scram_iterations": "1",
    # The files may be in memory.
    "max_wal_size": "1GB",
}


def make_reachable(data: Path, account: Account | None) -> None:
    """Makes `<data>/postgres` a link to another place, if the account cannot reach it."""
    folder = data / "postgres"
    if account is None or folder.is_symlink() or is_open_to(account, data):
        return
    say(f"{data} is closed to the user {account.name}: the database is kept in {ROOT_DATA}")
    link(data, ROOT_DATA)


def keep_in_memory(data: Path) -> None:
    """Makes `<data>/postgres` a link into memory, if there is plenty of it.

    Tests create and drop a thousand databases of 800 files each, and some file systems take longer
    for that than the tests do.
    """
    folder, root = data / "postgres", IN_MEMORY / f"ordersaga-{os.getuid()}"
    if folder.is_symlink() or folder.exists() or not is_plenty():
        return
    root.mkdir(exist_ok=True)
    # Everybody may write there: somebody else's folder is not used.
    if not root.is_symlink() and root.stat().st_uid == os.getuid():
        link(data, root)


def is_plenty() -> bool:
    """Whether the tests' database fits into memory beside what the tests need themselves."""
    try:
        if not os.access(IN_MEMORY, os.W_OK):
            return False
        told = Path("/proc/meminfo").read_text()
        there = int(told.partition("MemAvailable:")[2].split()[0]) << 10
        return there >= MEMORY_NEEDED and shutil.disk_usage(IN_MEMORY).free >= MEMORY_NEEDED // 2
    except (OSError, ValueError, IndexError):
        # Not Linux, or without a file system in memory.
        return False


def link(data: Path, root: Path) -> None:
    elsewhere = root / hashlib.sha256(str(data).encode()).hexdigest()[:12]
    elsewhere.mkdir(parents=True, exist_ok=True)
    for step in (root, elsewhere):
        step.chmod(0o755)
    (data / "postgres").symlink_to(elsewhere / "postgres")


def remove_linked(data: Path) -> None:
    """Removes a database that is kept elsewhere."""
    folder = data / "postgres"
    if folder.is_symlink():
        shutil.rmtree(Path(os.readlink(folder)).parent, ignore_errors=True)


@dataclass(frozen=True)
class Postgres:
    programs: Path
    data: Path
    port: int
    account: Account | None
    fast: bool
    # The launcher's name for it.
    name: str = "postgres"
    # Added to the settings of every Postgres here, or overriding them.
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """With links resolved, because the account cannot follow one out of a closed folder."""
        return (self.data / "postgres").resolve()

    def service(self, signals: Signals) -> Service:
        if not self.folder.exists():
            self._initialise(signals)
        self._check_version()
        self._check_lock()
        settings = {**SETTINGS, **(FAST_SETTINGS if self.fast else {}), **self.settings}
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        return Service(
            name=self.name,
            command=[self.programs / "postgres", "-D", self.folder, "-p", str(self.port), *flags],
            log=self._log_path(self.name),
            env=_clean_env(),
            cwd=self.folder,
            account=self.account,
            # Closes connections and shuts down; on SIGTERM it would wait for them to be closed.
            stop_signal=signal.SIGINT,
            ready=lambda: self._psql(["--command", "SELECT 1"], signals) == 0,
        )

    def back_up(self, services: Services) -> int:
        """Makes a copy of the whole server; returns the server's new pid."""
        return services.while_down(self.name, lambda: _copy(self.folder, self._backup))

    def set_back(self, services: Services, signals: Signals) -> int:
        """Restores the copy, except for the parties' current records; returns the server's new pid.

        There must be no other connections: they would see old records of the parties for a moment.
        """
        self._check_copy()
        self._script(self._out_of_the_old(), signals)
        pid = self.put_back(services)
        self._script(self._into_the_new(), signals)
        return pid

    def put_back(self, services: Services) -> int:
        """Restores the copy completely; returns the server's new pid."""
        self._check_copy()
        return services.while_down(self.name, lambda: _copy(self._backup, self.folder))

    def _check_copy(self) -> None:
        if not self._backup.exists():
            raise Problem("there is no copy to set the database back to: ask for one first")

    @property
    def _backup(self) -> Path:
        return self.folder.with_name("postgres.backup")

    def _out_of_the_old(self) -> list[str]:
        return [f"\\copy {table} to '{self._kept(table)}'" for table in THE_PARTIES_OWN]

    def _into_the_new(self) -> list[str]:
        tables = ", ".join(THE_PARTIES_OWN)
        return [
            f"truncate {tables};",
            *(f"\\copy {table} from '{self._kept(table)}'" for table in THE_PARTIES_OWN),
            *(
                f"select setval(pg_get_serial_sequence('{table}', '{column}'), "
                f"coalesce(max({column}), 0) + 1, false) from {table};"
                for table, column in THE_PARTIES_OWN.items()
                if column
            ),
        ]

    def _kept(self, table: str) -> Path:
        return self.data / f"{table}.copy"

    def _script(self, lines: list[str], signals: Signals) -> None:
        script = self.data / "parties.sql"
        script.write_text("\n".join(["\\set ON_ERROR_STOP on", *lines, ""]))
        what = ["--single-transaction", "--file", str(script)]
        if self._psql(what, signals, database="ordersaga") != 0:
            raise Problem(f"cannot carry the parties' records over: {self._log_path('psql')} says why")

    def create_roles(self, signals: Signals) -> None:
        if self._psql(["--file", str(ROLES)], signals) != 0:
            raise Problem(f"cannot set up the database roles: {self._log_path('psql')} says why")

    def run_script(self, script: Path, signals: Signals, secrets: Mapping[str, str]) -> None:
        """Runs a script with psql as the superuser, with these secrets in its environment."""
        if self._psql(["--file", str(script)], signals, secrets=secrets) != 0:
            raise Problem(f"{script.name} failed: {self._log_path('psql')} says why")

    def let_in(self, network: str) -> None:
        """Allows every role to connect from this network. Call it before the server is started."""
        rules = self.folder / "pg_hba.conf"
        rule = f"host all all {network} scram-sha-256\n"
        if rule not in rules.read_text():
            with rules.open("a") as file:
                file.write(rule)

    def open_template(self, signals: Signals) -> None:
        """Allows the owner to migrate the template of every new database."""
        statement = "alter database template1 owner to ordersaga_owner"
        if self._psql(["--command", statement], signals) != 0:
            raise Problem(f"cannot open the template: {self._log_path('psql')} says why")

    def limit_roles(self, signals: Signals) -> None:
        """Sets each program's limits on its role, for a pooler that does not pass them on."""
        statements = [
            f"alter role ordersaga_{role} set {name} = '{limit}'"
            for role, limits in LIMITS.items()
            for name, limit in {**limits, "idle_in_transaction_session_timeout": "10s"}.items()
        ]
        if self._psql(["--command", "; ".join(statements)], signals) != 0:
            raise Problem(f"cannot limit the database roles: {self._log_path('psql')} says why")

    def url(self, role: str, database: str = "ordersaga") -> str:
        password = self._passwords()[role]
        # Without sslmode each connection would first try TLS, which this server does not have.
        where = f"127.0.0.1:{self.port}/{database}?sslmode=disable"
        return f"postgres://ordersaga_{role}:{password}@{where}"

    def admin_url(self) -> str:
        """The server as its superuser, before Ordersaga is set up."""
        password = self._passwords()["superuser"]
        return f"postgres://postgres:{password}@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def _passwords(self) -> dict[str, str]:
        return kept_secrets(self.data / "passwords.json", LOGINS)

    def _initialise(self, signals: Signals) -> None:
        say(f"creating the database in {self.folder}")
        # A database may be moved, so an interrupted attempt leaves nothing under the final name.
        partial = self.folder.with_name("postgres.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=partial.parent) as secret:
            secret.write(self._passwords()["superuser"])
            secret.flush()
            for path in (partial, secret.name):
                if self.account:
                    os.chown(path, self.account.uid, self.account.gid)
            code = self._initdb(["-D", str(partial), "--pwfile", secret.name], signals)
        if code != 0:
            raise Problem(f"initdb failed: {self._log_path('initdb')} says why")
        partial.rename(self.folder)

    def _initdb(self, where: list[str], signals: Signals) -> int:
        how = ["-U", "postgres", "-A", "scram-sha-256", "--encoding", "UTF8", "--no-locale"]
        # Upper and lower case beyond ASCII, the same on all machines; available since Postgres 17.
        if version_of(self.programs / "postgres") >= (17,):
            how += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        with self._log("initdb") as log:
            return run(
                [self.programs / "initdb", *where, *how],
                signals,
                account=self.account,
                env=_clean_env(),
                cwd="/",
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _check_version(self) -> None:
        made_by = int((self.folder / "PG_VERSION").read_text())
        runs = version_of(self.programs / "postgres")[0]
        if made_by != runs:
            raise Problem(
                f"{self.folder} was made by Postgres {made_by}, and this is {runs}: delete "
                f"{self.data} to start afresh, or carry its orders over with pg_dump {made_by}"
            )

    def _check_lock(self) -> None:
        """The lock of a dead server, whose pid now belongs to another process, would prevent a
        start."""
        lock = self.folder / "postmaster.pid"
        try:
            pid = int(lock.read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        if "postgres" in (command_line(pid) or ""):
            raise Problem(
                f"a Postgres (pid {pid}) still runs on {self.folder}: end it with "
                f"`kill -INT {pid}` and run this again"
            )
        lock.unlink()

    def _psql(
        self,
        what: list[str],
        signals: Signals,
        database: str = "postgres",
        secrets: Mapping[str, str] | None = None,
    ) -> int:
        passwords = self._passwords()
        env = {
            **_clean_env(),
            **(secrets or {}),
            "PGPASSWORD": passwords["superuser"],
            "ORDERSAGA_OWNER_PASSWORD": passwords["owner"],
            "ORDERSAGA_WORKER_PASSWORD": passwords["worker"],
            "ORDERSAGA_STARTER_PASSWORD": passwords["starter"],
            "ORDERSAGA_RELAY_PASSWORD": passwords["relay"],
        }
        server = f"host=127.0.0.1 port={self.port} user=postgres connect_timeout=5"
        where = f"{server} dbname={database}"
        with self._log("psql") as log:
            return run(
                [self.programs / "psql", "--no-psqlrc", "--quiet", "--dbname", where, *what],
                signals,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _log(self, program: str) -> IO[bytes]:
        return self._log_path(program).open("wb")

    def _log_path(self, program: str) -> Path:
        return self.data / "logs" / f"{program}.log"


def _copy(source: Path, target: Path) -> None:
    """Copies the folder with its owners, replacing the target."""
    if target.exists():
        shutil.rmtree(target)
    subprocess.run(["cp", "-a", source, target], check=True)


def _clean_env() -> Mapping[str, str]:
    """Without the caller's PG* variables, which refer to another Postgres."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
