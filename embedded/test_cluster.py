"""Tests of the launcher's Temporal cluster, with real folders, programs and processes.

Run with: python3 -m unittest discover embedded
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Callable
from unittest import mock

import cluster
import hosts
import postgres
import processes
import stack
import upgrade
from console import Problem
from hosts import Loopback, Namespaces, Taken
from processes import Service, Services, Signals
from temporal_server import SETTINGS
from test_stack import FOREVER, Case

signals: Signals


def setUpModule() -> None:
    global signals
    signals = Signals()


class ClusterCase(Case):
    def told(self) -> str:
        self.said.seek(0)
        return self.said.read()

    def path_of(self, folder: Path) -> mock._patch_dict:  # type: ignore[name-defined]
        return mock.patch.dict(os.environ, {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"})


class ServerProgramsTest(ClusterCase):
    def test_the_server_is_built_once_by_the_pinned_version(self) -> None:
        go = """
echo "$@" >> "$CALLS"
mkdir -p "$GOBIN"
for name in server sql tdbg; do echo built > "$GOBIN/$name"; done
"""
        folder = self.program("go", go).parent
        calls = self.folder / "calls"
        with self.path_of(folder), mock.patch.dict(os.environ, {"CALLS": str(calls)}):
            first = cluster.server_programs(self.folder)
            again = cluster.server_programs(self.folder)
        self.assertEqual(first, again)
        for program in (first.server, first.sql_tool, first.tdbg):
            self.assertEqual(program.read_text(), "built\n")
        asked = calls.read_text().splitlines()
        self.assertEqual(len(asked), 1)
        self.assertEqual(asked[0].count(f"@{cluster.VERSION}"), len(cluster.PROGRAMS))

    def test_without_go_it_is_said_what_to_install(self) -> None:
        with mock.patch.object(cluster.shutil, "which", return_value=None):
            with self.assertRaisesRegex(Problem, "https://go.dev/dl"):
                cluster.server_programs(self.folder)

    def test_a_build_that_fails_leaves_nothing_behind(self) -> None:
        folder = self.program("go", "exit 1").parent
        with self.path_of(folder), self.assertRaisesRegex(Problem, "cannot build Temporal"):
            cluster.server_programs(self.folder)
        self.assertFalse(list(self.folder.glob("temporal-server-*")))


class ConfigTest(ClusterCase):
    def test_a_node_speaks_on_its_own_address_alone(self) -> None:
        config = cluster.node_config("127.0.0.3", "127.0.0.1:54429", "secret", Path("/d/dyn.yaml"))
        bound = [line for line in config.splitlines() if "bindOnIP" in line]
        self.assertEqual(len(bound), len(cluster.SERVICES))
        for line in bound:
            self.assertIn('bindOnIP: "127.0.0.3"', line)
        self.assertIn('broadcastAddress: "127.0.0.3"', config)
        self.assertEqual(config.count('password: "secret"'), len(cluster.DATABASES))
        self.assertEqual(config.count("{"), config.count("}"))

    def test_the_settings_are_those_of_the_repo_and_so_many_partitions(self) -> None:
        usual = (SETTINGS / "dynamic-config.yaml").read_text()
        self.assertEqual(cluster.dynamic_config(None), usual)
        changed = cluster.dynamic_config(4)
        differing = [
            (before, after)
            for before, after in zip(usual.splitlines(), changed.splitlines())
            if before != after
        ]
        self.assertEqual(differing, [("  - value: 1", "  - value: 4")] * 2)

    def test_the_databases_take_as_many_connections_as_all_nodes_may_make(self) -> None:
        each = cluster.CONNECTIONS + cluster.VISIBILITY_CONNECTIONS
        most = cluster.NODES * len(cluster.SERVICES) * each
        self.assertGreater(int(cluster.POSTGRES_SETTINGS["max_connections"]), most)

    def test_the_balancer_leaves_out_who_does_not_answer(self) -> None:
        nodes, starters = ["127.0.0.2", "127.0.0.3"], ["127.0.0.1:8080", "127.0.0.1:8081"]
        config = cluster.haproxy_config(nodes, "127.0.0.1:1", starters, "127.0.0.1:2")
        servers = [line for line in config.splitlines() if line.startswith("  server ")]
        self.assertEqual(len(servers), len(nodes) + len(starters))
        for line in servers:
            self.assertIn(" check", line)
        # Open connections to a hanging server hang, too.
        self.assertIn("on-marked-down shutdown-sessions", config)

    def test_the_smallest_ring_counts(self) -> None:
        rings = '[{"role": "history", "member_count": 3}, {"role": "matching", "member_count": 1}]'
        self.assertEqual(cluster.members(rings), 1)
        self.assertEqual(cluster.members("[]"), 0)


class HostsTest(ClusterCase):
    def ip(self, pids: str = "") -> tuple[Namespaces, Callable[[], list[str]]]:
        calls = self.folder / "calls"
        script = f'printf "%s\\n" "$*" >> {calls}\n[ "$2" = pids ] && echo "{pids}"\nexit 0'
        program = self.program("ip", script)
        return Namespaces(3, str(program)), lambda: calls.read_text().splitlines()

    def test_every_host_has_a_namespace_and_a_link_of_its_own(self) -> None:
        network, calls = self.ip()
        network.make()
        added = [call for call in calls() if call.startswith("netns add")]
        self.assertEqual(added, [f"netns add ordersaga-{number}" for number in (1, 2, 3)])
        links = [word for call in calls() for word in call.split() if "-link" in word]
        # The kernel limits the name to 15 characters.
        self.assertLessEqual(max(map(len, links)), 15)
        self.assertEqual(len({network.address(number) for number in (1, 2, 3)}), 3)

    def test_a_cut_between_two_hosts_leaves_the_third_alone_and_is_mended(self) -> None:
        network, calls = self.ip()
        network.cut_between(1, 2)
        cut = calls()
        self.assertEqual(len(cut), 2)
        for call in cut:
            self.assertRegex(call, "ordersaga-link[12] .*isolated on$")
        network.mend()
        mended = calls()[2:]
        self.assertEqual(sum("isolated off" in call for call in mended), 3)
        self.assertEqual(sum(call.endswith(" up") for call in mended), 3)

    def test_a_network_that_somebody_uses_is_left_alone(self) -> None:
        network, calls = self.ip(pids="4711")
        with self.assertRaisesRegex(Taken, "pid 4711"):
            network.make()
        self.assertFalse([call for call in calls() if "del" in call.split()])

    def test_who_cannot_cut_the_network_says_so_and_goes_without(self) -> None:
        said: list[str] = []
        with mock.patch.object(hosts.os, "geteuid", return_value=1000):
            with mock.patch.object(hosts.shutil, "which", return_value="/sbin/ip"):
                self.assertIsInstance(hosts.hosts_for(3, True, said.append), Loopback)
        with mock.patch.object(hosts.shutil, "which", return_value=None):
            self.assertIsInstance(hosts.hosts_for(3, True, said.append), Loopback)
        refusing = self.program("ip", "[ $1 = link ] && [ $2 = add ] && exit 2; exit 0")
        with mock.patch.object(hosts.os, "geteuid", return_value=0):
            with mock.patch.object(hosts.shutil, "which", return_value=str(refusing)):
                self.assertIsInstance(hosts.hosts_for(3, True, said.append), Loopback)
        self.assertEqual(len(said), 3)
        self.assertIn("only root", said[0])
        self.assertIn("iproute2", said[1])
        self.assertIn("failed", said[2])

    def test_nobody_who_does_not_want_cuts_gets_a_network(self) -> None:
        self.assertIsInstance(hosts.hosts_for(3, False, self.fail), Loopback)


class PostgresOfTheClusterTest(ClusterCase):
    def test_its_hosts_are_let_in_once(self) -> None:
        server = postgres.Postgres(
            programs=self.folder, data=self.folder, port=1, account=None, fast=False, name="other"
        )
        server.folder.mkdir()
        rules = server.folder / "pg_hba.conf"
        rules.write_text("local all all trust\n")
        server.let_in("10.79.0.0/24")
        server.let_in("10.79.0.0/24")
        self.assertEqual(rules.read_text().count("10.79.0.0/24 scram-sha-256"), 1)

    def test_without_a_copy_nothing_is_put_back(self) -> None:
        server = postgres.Postgres(
            programs=self.folder, data=self.folder, port=1, account=None, fast=False, name="other"
        )
        with self.assertRaisesRegex(Problem, "ask for one first"):
            server.put_back(Services(signals, record=self.folder / "record.json"))


class UpgradeTest(ClusterCase):
    def services(self) -> Services:
        services = Services(signals, record=self.folder / "record.json")
        self.addCleanup(services.stop)
        return services

    def named(self, name: str, command: list[str]) -> Service:
        log = self.folder / f"{name}.log"
        return Service(name, command, log, os.environ, ready=lambda: True)

    def test_a_service_is_started_again_as_another_program(self) -> None:
        services = self.services()
        services.launch(self.named("starter", FOREVER))
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]

        def change(service: Service) -> None:
            service.command = sleeper

        before = services.pid_of("starter")
        after = services.replace("starter", change)
        self.assertNotEqual(before, after)
        self.assertIn("time.sleep", processes.command_line(after) or "")

    def test_new_workers_take_the_names_of_those_that_are_retired(self) -> None:
        services = self.services()
        releases: list[str] = []

        def launch_workers(named: Mapping[str, str]) -> None:
            releases.append(named.get("WORKER_BUILD_ID", "none"))
            for name in upgrade.WORKERS:
                services.launch(self.named(name, FOREVER))

        launch_workers({})
        old = {services.pid_of(name) for name in upgrade.WORKERS}
        way = upgrade.Upgrade(
            new=self.folder,
            services=services,
            signals=signals,
            env={},
            repo=self.folder,
            launch_worker=lambda name, _release: services.launch(self.named(name, FOREVER)),
            launch_workers=launch_workers,
        )
        acts = way.acts()
        acts["start-new", "worker"]()
        both = [f"new-{name}" for name in upgrade.WORKERS]
        self.assertEqual([one.name for one in services.running], [*upgrade.WORKERS, *both])
        acts["retire-old", "worker"]()
        self.assertEqual([one.name for one in services.running], list(upgrade.WORKERS))
        self.assertEqual(releases, ["none", upgrade.AFTER])
        self.assertFalse(old & {one.pid for one in services.running})
        for pid in old:
            self.assertIsNone(processes.birth(pid))

    def test_the_earlier_release_may_be_a_program_that_is_there(self) -> None:
        program = self.program("ordersaga", "exit 0")
        found = upgrade.program_of(str(program), self.folder, self.folder, self.folder, signals)
        self.assertEqual(found, program)

    def test_what_is_no_commit_is_named(self) -> None:
        subprocess.run(["git", "init", "--quiet", self.folder], check=True)
        with self.assertRaisesRegex(Problem, "`no-such` is neither"):
            upgrade.program_of("no-such", self.folder, self.folder, self.folder, signals)


class CommandLineTest(ClusterCase):
    def test_a_cluster_has_data_of_its_own(self) -> None:
        one, other = stack.parse(["bench"]), stack.parse(["bench", "--cluster"])
        self.assertNotEqual(one.data, other.data)
        self.assertTrue(other.clustered)

    def test_what_cannot_have_a_cluster_is_refused(self) -> None:
        for arguments in (
            ["demo", "--cluster"],
            ["chaos", "--cluster", "--provider", "stripe"],
            ["chaos", "--upgrade-from", "main"],
            ["bench", "--cluster", "--upgrade-from", "main"],
        ):
            with self.subTest(arguments), self.assertRaises(SystemExit):
                stack.parse(arguments)

    def test_processes_of_a_kind_are_counted_together(self) -> None:
        names = ("postgres", "temporal-postgres", "node-1", "node-2", "worker", "second-worker")
        running = [mock.Mock(pid=pid) for pid in range(len(names))]
        for service, name in zip(running, names):
            service.name = name
        self.assertEqual(
            stack.pids_by_kind(running),
            {"postgres": 0, "temporal-postgres": 1, "temporal": [2, 3], "worker": [4, 5]},
        )

    def test_without_a_balancer_there_is_one_starter_and_it_is_said(self) -> None:
        started = mock.Mock(spec=cluster.Cluster)
        started.balanced.side_effect = lambda _starters: cluster.Cluster.balanced(started, _starters)
        services = Services(signals, record=self.folder / "record.json")
        one = stack.Stack("up", self.folder, signals, services, clustered=True)
        one.env["ORDERSAGA_LISTEN"] = "127.0.0.1:1"
        with mock.patch.object(cluster.shutil, "which", return_value=None):
            one._balance(started)
        self.assertEqual(one.starters, ["127.0.0.1:1"])
        self.assertEqual(one.env["ORDERSAGA_STARTERS"], "1")
        self.assertIn("there is no haproxy", self.told())
