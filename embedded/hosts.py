"""The hosts of a cluster on one machine, and the network between them."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Callable

from console import Problem
from processes import Command

# One name for all stacks: a machine has one such network.
PREFIX = "ordersaga"
BRIDGE = f"{PREFIX}0"
NETWORK = "10.79.0"


class Taken(Problem):
    """Such a network exists already, and is in use."""


@dataclass
class Loopback:
    """All nodes on this machine, each with its own loopback address."""

    count: int
    # Whether the network between them can be cut.
    can_be_cut: bool = False
    # Where the nodes reach services outside of them.
    gateway: str = "127.0.0.1"
    # Their source addresses there, if not the gateway's own.
    network: str | None = None

    def make(self) -> None:
        """Nothing to do: Linux has all of 127.0.0.0/8."""

    def remove(self) -> None:
        """Nothing to do."""

    def address(self, number: int) -> str:
        return f"127.0.0.{number + 1}"

    def inside(self, number: int, command: Command) -> Command:
        return command


@dataclass
class Namespaces:
    """Each node in its own network namespace, all on one bridge, whose address is this machine.

    A link that is down drops packets silently, like an unplugged cable.
    """

    count: int
    ip: str
    can_be_cut: bool = True
    gateway: str = f"{NETWORK}.1"
    network: str | None = f"{NETWORK}.0/24"

    def make(self) -> None:
        self._refuse_a_second()
        self.remove()
        self._ask("link", "add", BRIDGE, "type", "bridge")
        self._ask("addr", "add", f"{self.gateway}/24", "dev", BRIDGE)
        self._ask("link", "set", BRIDGE, "up")
        for number in range(1, self.count + 1):
            namespace, link = self._namespace(number), self._link(number)
            self._ask("netns", "add", namespace)
            peer = ("peer", "name", "eth0", "netns", namespace)
            self._ask("link", "add", link, "type", "veth", *peer)
            self._ask("link", "set", link, "master", BRIDGE, "up")
            self._ask("-n", namespace, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            self._ask("-n", namespace, "link", "set", "eth0", "up")
            self._ask("-n", namespace, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Removes what this or an earlier launcher has made; ignores what does not exist."""
        for number in range(1, self.count + 1):
            self._ask_gently("netns", "del", self._namespace(number))
            self._ask_gently("link", "del", self._link(number))
        self._ask_gently("link", "del", BRIDGE)

    def address(self, number: int) -> str:
        return f"{NETWORK}.{number + 1}"

    def inside(self, number: int, command: Command) -> Command:
        return [self.ip, "netns", "exec", self._namespace(number), *command]

    def cut_off(self, number: int) -> None:
        """Disconnects the host from all others."""
        self._ask("link", "set", self._link(number), "down")

    def cut_between(self, one: int, other: int) -> None:
        """Disconnects the two hosts from each other; both still reach all others."""
        for number in (one, other):
            self._isolate(number, "on")

    def mend(self) -> None:
        """Restores all connections."""
        for number in range(1, self.count + 1):
            self._ask("link", "set", self._link(number), "up")
            self._isolate(number, "off")

    def _isolate(self, number: int, how: str) -> None:
        self._ask("link", "set", "dev", self._link(number), "type", "bridge_slave", "isolated", how)

    def _refuse_a_second(self) -> None:
        for number in range(1, self.count + 1):
            pids = self._ask_gently("netns", "pids", self._namespace(number)).split()
            if pids:
                raise Taken(
                    f"another cluster runs on this machine (pid {pids[0]}), and there can be only "
                    "one: end it and run this again"
                )

    def _namespace(self, number: int) -> str:
        return f"{PREFIX}-{number}"

    def _link(self, number: int) -> str:
        return f"{PREFIX}-link{number}"

    def _ask(self, *what: str) -> None:
        asked = subprocess.run([self.ip, *what], capture_output=True, text=True)
        if asked.returncode != 0:
            raise Problem(f"`ip {' '.join(what)}` failed: {asked.stderr.strip()}")

    def _ask_gently(self, *what: str) -> str:
        return subprocess.run([self.ip, *what], capture_output=True, text=True).stdout


def hosts_for(count: int, wants_cuts: bool, say: Callable[[str], None]) -> Loopback | Namespaces:
    """Namespaces if the network has to be cut and that is possible; otherwise prints why not."""
    if not wants_cuts:
        return Loopback(count)
    ip = shutil.which("ip")
    if ip is None or os.geteuid() != 0:
        missing = "there is no `ip` (iproute2)" if ip is None else "only root may make its namespaces"
        say(f"the network between the nodes cannot be cut, so those faults are skipped: {missing}")
        return Loopback(count)
    hosts = Namespaces(count, ip)
    try:
        hosts.make()
    except Taken:
        raise
    except Problem as problem:
        hosts.remove()
        say(f"the network between the nodes cannot be cut, so those faults are skipped: {problem}")
        return Loopback(count)
    return hosts
