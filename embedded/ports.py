"""Ports on the loopback address."""

from __future__ import annotations

import errno
import socket

from console import Problem, say

TRIES = 100


def listens(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


class Ports:
    """Chooses the default port, or a free one near it; never the same one twice."""

    def __init__(self) -> None:
        self._chosen: set[int] = set()

    def choose(self, what: str, usual: int) -> int:
        for port in range(usual, usual + TRIES):
            if not self._is_free(port):
                continue
            if port != usual:
                say(f"port {usual} is taken, so {what} uses {port}")
            self._chosen.add(port)
            return port
        raise Problem(
            f"{what} finds no free port: {usual} to {usual + TRIES - 1} are all taken; "
            "end something that uses one of them"
        )

    def _is_free(self, port: int) -> bool:
        # Both checks are needed: some systems let a second socket bind a port that another listens
        # on.
        if port in self._chosen or listens(port):
            return False
        with socket.socket() as probe:
            # Like the servers: lingering connections of an earlier run do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                return False
        return True
