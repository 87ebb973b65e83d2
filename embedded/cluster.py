"""A real Temporal cluster on one machine: three nodes, their own Postgres, and a balancer.

The server is built once with Go, from its own module. If haproxy is installed, it balances over the
nodes and over the starters, and skips those that do not answer; without it, the programs balance over
the nodes themselves (ORDERSAGA_TEMPORAL_FRONTENDS), and there is one starter.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable

from account import account_for
from console import Problem, say
from fetch import postgres_programs
from hosts import Loopback, Namespaces, hosts_for
from kept_secrets import kept_secrets
from ports import Ports, listens
from postgres import Postgres, make_reachable
from processes import Service, Services, Signals
from temporal_server import SETTINGS, clean_env

MODULE = "go.temporal.io/server"
VERSION = "v1.32.1"
# The names of the packages in Go, and of the binaries here.
PROGRAMS = {
    "cmd/server": "temporal-server",
    "cmd/tools/sql": "temporal-sql-tool",
    "cmd/tools/tdbg": "tdbg",
}

NODES = 3
# Cannot be changed once the database exists.
SHARDS = 64
FRONTEND, FRONTEND_HTTP, METRICS = 7233, 7243, 9091
# The RPC and membership ports of each service.
SERVICES = {
    "frontend": (FRONTEND, 6933),
    "history": (7234, 6934),
    "matching": (7235, 6935),
    "worker": (7239, 6939),
}
POSTGRES_PORT = 54429
BALANCER_PORT, API_BALANCER_PORT = 17233, 18080

# Every service of every node has connection pools: at most 4 × 3 × (12 + 4) connections.
CONNECTIONS, VISIBILITY_CONNECTIONS = 12, 4
POSTGRES_SETTINGS = {"max_connections": "300"}
DATABASES = ("temporal", "temporal_visibility")

PARTITIONS = re.compile(r"(matching\.numTaskqueue(?:Read|Write)Partitions:\n  - value: )\d+")


@dataclass(frozen=True)
class ServerPrograms:
    """The server and its tools, in the same version."""

    folder: Path

    @property
    def server(self) -> Path:
        return self.folder / "temporal-server"

    @property
    def sql_tool(self) -> Path:
        return self.folder / "temporal-sql-tool"

    @property
    def tdbg(self) -> Path:
        return self.folder / "tdbg"


def server_programs(cache: Path) -> ServerPrograms:
    """Built into the cache once; needs Go, and about ten minutes on two cores."""
    folder = cache / f"temporal-server-{VERSION}"
    if folder.exists():
        return ServerPrograms(folder)
    go = shutil.which("go")
    if go is None:
        raise Problem(
            "a Temporal cluster is built by Go, and there is none: install it from "
            "https://go.dev/dl and run this again"
        )
    say(f"building Temporal {VERSION} into {cache}, once; that takes some ten minutes on two cores")
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
        built = Path(scratch, "built")
        packages = [f"{MODULE}/{package}@{VERSION}" for package in PROGRAMS]
        command = [go, "install", "-trimpath", "-ldflags", "-s -w", *packages]
        # Go fetches the toolchain that the server requires if this one is older.
        env = {"GOTOOLCHAIN": "auto", **os.environ, "GOBIN": str(built), "CGO_ENABLED": "0"}
        if subprocess.run(command, env=env, stdout=sys.stderr.fileno()).returncode:
            raise Problem(f"cannot build Temporal {VERSION}: go's message above says why")
        for package, name in PROGRAMS.items():
            (built / package.rpartition("/")[2]).rename(built / name)
        built.chmod(0o755)
        built.rename(folder)
    return ServerPrograms(folder)


def dynamic_config(partitions: int | None) -> str:
    """The server's dynamic config for Ordersaga, with this many partitions of each task queue."""
    text = (SETTINGS / "dynamic-config.yaml").read_text()
    return PARTITIONS.sub(rf"\g<1>{partitions}", text) if partitions else text


def node_config(address: str, postgres: str, password: str, dynamic: Path) -> str:
    """The configuration of a node: all four services on one address."""

    def store(database: str, connections: int) -> str:
        pool = f"maxConns: {connections}, maxIdleConns: {connections}, maxConnLifetime: 1h"
        where = f'connectAddr: "{postgres}", connectProtocol: tcp'
        who = f'user: temporal, password: "{password}"'
        return (
            "{sql: {pluginName: postgres12, "
            f"databaseName: {database}, {where}, {who}, {pool}" + "}}"
        )

    services = "\n".join(
        f"  {name}: {{rpc: {{grpcPort: {port}, membershipPort: {membership}, "
        f'bindOnIP: "{address}"'
        + (f", httpPort: {FRONTEND_HTTP}" if name == "frontend" else "")
        + "}}"
        for name, (port, membership) in SERVICES.items()
    )
    orders, visibility = DATABASES
    return f"""log: {{stdout: true, level: warn}}
persistence:
  defaultStore: orders
  visibilityStore: visibility
  numHistoryShards: {SHARDS}
  datastores:
    orders: {store(orders, CONNECTIONS)}
    visibility: {store(visibility, VISIBILITY_CONNECTIONS)}
global:
  membership: {{maxJoinDuration: 30s, broadcastAddress: "{address}"}}
  metrics: {{prometheus: {{timerType: histogram, listenAddress: "{address}:{METRICS}"}}}}
services:
{services}
clusterMetadata:
  enableGlobalNamespace: false
  failoverVersionIncrement: 10
  masterClusterName: active
  currentClusterName: active
  clusterInformation:
    active:
      enabled: true
      initialFailoverVersion: 1
      rpcName: frontend
      rpcAddress: "{address}:{FRONTEND}"
dcRedirectionPolicy: {{policy: noop}}
dynamicConfigClient: {{filepath: "{dynamic}", pollInterval: 10s}}
"""


def haproxy_config(nodes: list[str], temporal: str, starters: list[str], api: str) -> str:
    """A server that does not answer for two seconds gets no new connections, and its open ones are
    closed."""
    frontends = "\n".join(
        f"  server node-{number} {address}:{FRONTEND} check port {FRONTEND_HTTP}"
        for number, address in enumerate(nodes, 1)
    )
    apis = "\n".join(
        f"  server starter-{number} {address} check" for number, address in enumerate(starters, 1)
    )
    return f"""global
  maxconn 8192
defaults
  timeout connect 2s
  timeout check 2s
  timeout client 120s
  timeout server 120s
  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions

listen temporal
  bind {temporal}
  mode tcp
  balance leastconn
  option httpchk GET /api/v1/cluster-info
  http-check expect status 200
{frontends}

listen starters
  bind {api}
  mode http
  balance roundrobin
  option httpchk GET /ready
  http-check expect status 200
  option redispatch 1
  retries 3
  retry-on conn-failure
{apis}
"""


def members(shown: str) -> int:
    """The number of nodes in the smallest ring, from `tdbg membership list-gossip`.

    A node that has lost its database for a while may come back in a ring of its own without
    reporting it (temporal#9987).
    """
    counts = [int(count) for count in re.findall(r'"member[_]?[cC]ount":\s*(\d+)', shown)]
    return min(counts, default=0)


@dataclass
class Cluster:
    """The cluster of one run: its services, and the environment for the programs."""

    data: Path
    cache: Path
    ports: Ports
    signals: Signals
    services: Services
    namespace: str
    cli: Path
    # Whether the network between nodes has to be cut.
    wants_cuts: bool
    partitions: int | None = None
    hosts: Loopback | Namespaces = field(init=False)
    postgres: Postgres = field(init=False)
    programs: ServerPrograms = field(init=False)

    @property
    def addresses(self) -> list[str]:
        return [self.hosts.address(number) for number in range(1, NODES + 1)]

    @property
    def frontends(self) -> list[str]:
        return [f"{address}:{FRONTEND}" for address in self.addresses]

    @property
    def node_names(self) -> list[str]:
        return [f"node-{number}" for number in range(1, NODES + 1)]

    def start(self) -> dict[str, str]:
        """Starts the nodes and what they depend on; returns the programs' environment."""
        self.programs = server_programs(self.cache)
        self.hosts = hosts_for(NODES, self.wants_cuts, say)
        self._refuse_taken_addresses()
        self._start_postgres()
        self._configure()
        # On an empty database, two concurrent nodes would both create the cluster's record.
        for number in range(1, NODES + 1):
            self.services.launch(self._node(number))
            say(f"node {number} of {NODES} is ready on {self.frontends[number - 1]}")
        self._set_up_namespace()
        return {
            "TEMPORAL_ADDRESS": self.frontends[0],
            "TEMPORAL_NAMESPACE": self.namespace,
            "TEMPORAL_CLI": str(self.cli),
            "ORDERSAGA_TEMPORAL_FRONTENDS": ",".join(self.frontends),
            "ORDERSAGA_CLUSTER_CAN_BE_CUT": str(self.hosts.can_be_cut).lower(),
        }

    def end(self) -> None:
        """Removes the network. Processes inside it keep it until they end."""
        if hasattr(self, "hosts"):
            self.hosts.remove()

    def balanced(self, starters: list[str]) -> tuple[Service, dict[str, str]] | None:
        """haproxy in front of nodes and starters, with its addresses; `None` if it is not
        installed."""
        haproxy = shutil.which("haproxy")
        if haproxy is None:
            say(
                "there is no haproxy, so there is one starter without a balancer, and `temporal` connects "
                "to one node; the programs balance over the nodes by themselves"
            )
            return None
        temporal = self.ports.choose("the balancer before Temporal", BALANCER_PORT)
        api = self.ports.choose("the balancer before the starters", API_BALANCER_PORT)
        where = f"127.0.0.1:{temporal}", starters, f"127.0.0.1:{api}"
        config = self.data / "haproxy.cfg"
        config.write_text(haproxy_config(self.addresses, *where))
        service = Service(
            name="balancer",
            # In the foreground, without a master process.
            command=[haproxy, "-db", "-f", config],
            log=self.data / "logs" / "balancer.log",
            env=os.environ,
            # Stops immediately on SIGTERM.
            stop_signal=signal.SIGTERM,
            ready=lambda: listens(temporal) and listens(api),
        )
        return service, {
            "TEMPORAL_ADDRESS": where[0],
            "ORDERSAGA_URL": f"http://{where[2]}",
        }

    def acts(self) -> dict[tuple[str, str], Callable[[], int]]:
        """The requests that `chaos` may make besides kill, hang and start."""
        acts: dict[tuple[str, str], Callable[[], int]] = {
            ("count-members", "temporal"): self.members,
            ("back-up", "temporal-postgres"): lambda: self.postgres.back_up(self.services),
            ("set-back", "temporal-postgres"): lambda: self.postgres.put_back(self.services),
        }
        hosts = self.hosts
        if isinstance(hosts, Namespaces):
            acts["cut-off", "node-2"] = self._then_pid("node-2", partial(hosts.cut_off, 2))
            between = partial(hosts.cut_between, 1, 2)
            acts["cut-between", "node-2"] = self._then_pid("node-2", between)
            acts["mend", "node-2"] = self._then_pid("node-2", hosts.mend)
        return acts

    def members(self) -> int:
        """The members as seen by the first node that answers."""
        for address in self.frontends:
            asked = subprocess.run(
                [self.programs.tdbg, "--address", address, "membership", "list-gossip"],
                capture_output=True,
                text=True,
                timeout=30,
                env=clean_env(os.environ),
            )
            if asked.returncode == 0:
                return members(asked.stdout)
        raise Problem(f"no node reports the members of the cluster: {asked.stderr.strip()}")

    def _then_pid(self, name: str, act: Callable[[], None]) -> Callable[[], int]:
        def carry_out() -> int:
            act()
            return self.services.pid_of(name)

        return carry_out

    def _refuse_taken_addresses(self) -> None:
        for address in self.addresses:
            if listens(FRONTEND, address):
                raise Problem(
                    f"another program listens on {address}:{FRONTEND}, where a node of the cluster is to "
                    "be: end it and run this again"
                )

    def _start_postgres(self) -> None:
        data = self.data / "temporal"
        (data / "logs").mkdir(parents=True, exist_ok=True)
        account = account_for(data / "postgres")
        make_reachable(data, account)
        listen = {self.hosts.gateway, "127.0.0.1"}
        self.postgres = Postgres(
            programs=postgres_programs(self.cache, account, self.signals),
            data=data,
            port=self.ports.choose("Temporal's Postgres", POSTGRES_PORT),
            account=account,
            fast=False,
            name="temporal-postgres",
            settings={**POSTGRES_SETTINGS, "listen_addresses": ",".join(sorted(listen))},
        )
        service = self.postgres.service(self.signals)
        if self.hosts.network:
            self.postgres.let_in(self.hosts.network)
        self.services.launch(service)
        secrets = {"TEMPORAL_DATABASE_PASSWORD": self._password()}
        self.postgres.run_script(SETTINGS / "postgres-role.sql", self.signals, secrets)
        env = {
            **clean_env(os.environ),
            "SQL_HOST": "127.0.0.1",
            "SQL_PORT": str(self.postgres.port),
            "SQL_USER": "temporal",
            "SQL_PASSWORD": self._password(),
            "TEMPORAL_SQL_TOOL": str(self.programs.sql_tool),
        }
        self._once("postgres-schema", env)
        say(f"Temporal's Postgres is ready on 127.0.0.1:{self.postgres.port}")

    def _password(self) -> str:
        return kept_secrets(self.data / "temporal" / "passwords.json", ("temporal",))["temporal"]

    def _configure(self) -> None:
        dynamic = self.data / "temporal" / "dynamic-config.yaml"
        dynamic.write_text(dynamic_config(self.partitions))
        postgres = f"{self.hosts.gateway}:{self.postgres.port}"
        for number, address in enumerate(self.addresses, 1):
            config = self._config(number)
            # It contains the password.
            config.touch(mode=0o600)
            config.write_text(node_config(address, postgres, self._password(), dynamic))

    def _config(self, number: int) -> Path:
        return self.data / "temporal" / f"node-{number}.yaml"

    def _node(self, number: int) -> Service:
        start = [self.programs.server, "--config-file", self._config(number), "--allow-no-auth"]
        return Service(
            name=f"node-{number}",
            command=self.hosts.inside(number, [*start, "start"]),
            log=self.data / "logs" / f"node-{number}.log",
            env=clean_env(os.environ),
            ready=partial(self._serves, self.frontends[number - 1]),
        )

    def _serves(self, address: str) -> bool:
        asked = subprocess.run(
            [self.cli, "operator", "cluster", "health", "--address", address],
            capture_output=True,
            text=True,
            env=clean_env(os.environ),
        )
        return asked.returncode == 0 and "SERVING" in asked.stdout

    def _set_up_namespace(self) -> None:
        env = {
            **clean_env(os.environ),
            "TEMPORAL_CLI": str(self.cli),
            "TEMPORAL_ADDRESS": self.frontends[0],
            "TEMPORAL_NAMESPACE": self.namespace,
        }
        self._once("setup", env)

    def _once(self, script: str, env: Mapping[str, str]) -> None:
        log = self.data / "temporal" / "logs" / f"{script}.log"
        with log.open("wb") as file:
            command = ["sh", SETTINGS / f"{script}.sh"]
            ended = subprocess.run(
                command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )
        if ended.returncode != 0:
            raise Problem(f"temporal/{script}.sh failed: {log} says why")
