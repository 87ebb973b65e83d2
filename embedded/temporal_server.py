"""The Temporal dev server, configured like a cluster: from the files in `temporal/`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from console import Problem
from ports import listens
from processes import Command, Service

SETTINGS = Path(__file__).resolve().parent.parent / "temporal"


def dynamic_config(text: str) -> dict[str, str]:
    """`{key: value}` of Temporal's dynamic config, whose file is kept flat for this."""
    values: dict[str, str] = {}
    key = None
    for line in text.splitlines():
        if not line.split("#")[0].strip():
            continue
        if name := re.fullmatch(r"([\w.]+):", line):
            key = name[1]
        elif (value := re.fullmatch(r"  - value: (\S+)", line)) and key:
            values[key] = value[1]
        else:
            raise Problem(
                f"temporal/dynamic-config.yaml: `{line}` is not understood; "
                "write only `key:` and below it `  - value: X`"
            )
    return values


def search_attributes(text: str) -> dict[str, str]:
    """Parses lines of the form `name type` to `{name: type}`."""
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return {line[0]: line[1] for line in lines if line}


def clean_env(env: Mapping[str, str]) -> dict[str, str]:
    """Without variables and the config file that refer to another server."""
    elsewhere = ("TEMPORAL_", "ORDERSAGA_TEMPORAL_")
    kept = {name: value for name, value in env.items() if not name.startswith(elsewhere)}
    return {**kept, "TEMPORAL_CONFIG_FILE": os.devnull}


@dataclass(frozen=True)
class TemporalServer:
    cli: Path
    data: Path
    port: int
    ui_port: int
    namespace: str
    # SQLite's setting for when a commit waits for the disk. With `off` a killed process loses
    # nothing, but a power cut may lose the last moments: only for one machine. With `full` nothing
    # is lost in either case, as in a cluster's database.
    synchronous: str = "off"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    def service(self) -> Service:
        return Service(
            name="temporal",
            command=[self.cli, *self._flags()],
            log=self.data / "logs" / "temporal.log",
            env={**clean_env(os.environ), "TEMPORAL_VERSION_CHECK_DISABLED": "1"},
            ready=self._is_ready,
        )

    def delete_namespace(self) -> None:
        """Deletes the namespace like an operator. It is gone at once; its histories are deleted
        later."""
        namespace = ["--namespace", self.namespace, "--yes"]
        self._ask([self.cli, "operator", "namespace", "delete", *namespace])

    def make_namespace(self) -> None:
        """Creates it like an operator, with its search attributes."""
        self._ask(["sh", SETTINGS / "setup.sh"])

    def _ask(self, command: Command) -> None:
        env = {
            **clean_env(os.environ),
            "TEMPORAL_CLI": str(self.cli),
            "TEMPORAL_ADDRESS": self.address,
            "TEMPORAL_NAMESPACE": self.namespace,
        }
        asked = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if asked.returncode != 0:
            told = " ".join(str(part) for part in command)
            raise Problem(f"`{told}` failed: {asked.stderr.strip()}")

    def _flags(self) -> list[str]:
        dynamic = dynamic_config((SETTINGS / "dynamic-config.yaml").read_text())
        return [
            *("server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error"),
            *("--port", str(self.port), "--ui-port", str(self.ui_port)),
            *("--namespace", self.namespace),
            *("--db-filename", str(self.data / "temporal.db")),
            *("--sqlite-pragma", "journal_mode=wal"),
            *("--sqlite-pragma", f"synchronous={self.synchronous}"),
            *_repeated("--dynamic-config-value", dynamic),
            *_repeated("--search-attribute", wanted_attributes()),
        ]

    def _is_ready(self) -> bool:
        """The server adds the search attributes last; once they exist, orders can start."""
        if not listens(self.port):
            return False
        where = ["--address", self.address, "--namespace", self.namespace]
        shown = subprocess.run(
            [self.cli, "operator", "search-attribute", "list", *where],
            capture_output=True,
            text=True,
            env=clean_env(os.environ),
        )
        known = shown.stdout.split()
        return shown.returncode == 0 and all(name in known for name in wanted_attributes())


def wanted_attributes() -> dict[str, str]:
    return search_attributes((SETTINGS / "search-attributes.txt").read_text())


def _repeated(flag: str, values: dict[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in (flag, f"{name}={value}")]
