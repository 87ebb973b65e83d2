"""Lets the launched command kill and start services, as a chaos test must.

The command's standard input is one end of a socket. It writes `{"kill": "worker"}` or
`{"start": "worker"}`, one per line, and gets one line back for each: the request with the service's
`pid`, or with `error` if it failed. `hang`, `go-on` and `pid` are requested in the same way. The launcher
defines further requests for some services.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Callable

from console import Problem
from processes import Services, Signals

LINE_BYTES_MAX = 4096


# Carries out a request, by its name and the service's; returns the service's pid.
Acts = Mapping[tuple[str, str], Callable[[], int]]


class RemoteControl:
    def __init__(self, services: Services, signals: Signals, acts: Acts | None = None) -> None:
        self._services, self._signals, self._acts = services, signals, acts or {}
        self._ours, self.handed_over = socket.socketpair()
        self._ours.setblocking(False)
        self._read = b""
        signals.also_wake_by(self._ours)

    def obey(self) -> None:
        """Carries out all pending requests. Called whenever the launcher wakes up."""
        # Only the command has the other end: once it has ended, no more requests come.
        self.handed_over.close()
        try:
            received = self._ours.recv(LINE_BYTES_MAX)
        except BlockingIOError:
            return
        except ConnectionResetError:
            received = b""
        if not received:
            self._signals.no_longer_wake_by(self._ours)
            return
        *lines, self._read = (self._read + received).split(b"\n")
        for line in lines:
            with suppress(BrokenPipeError):
                self._ours.sendall(json.dumps(self._carry_out(line)).encode() + b"\n")

    def close(self) -> None:
        self._signals.no_longer_wake_by(self._ours)
        self._ours.close()
        self.handed_over.close()

    def _carry_out(self, line: bytes) -> dict[str, Any]:
        try:
            ((what, name),) = json.loads(line).items()
            if act := self._acts.get((what, name)):
                return {what: name, "pid": act()}
            plain = {
                "kill": self._services.kill,
                "start": self._services.start_again,
                "hang": self._services.hang,
                "go-on": self._services.go_on,
                "pid": self._services.pid_of,
            }
            return {what: name, "pid": plain[what](name)}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return {"error": f"{line.decode(errors='replace')}: {error!r}"}
        except (Problem, OSError, subprocess.CalledProcessError) as error:
            return {"error": str(error)}
