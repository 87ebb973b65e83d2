"""Starts, watches and stops processes, so that none outlives its launcher."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Union

from account import Account, as_account
from console import Problem, Stopped, say

Command = Sequence[Union[str, Path]]

READY_WITHIN_SECONDS = 180.0
GRACE_SECONDS = 15.0
LOG_TAIL_LINES = 15
# A process that lived this long was healthy, so its next end counts as the first.
HEALTHY_AFTER_SECONDS = 10.0
RESTART_PAUSE_SECONDS_MAX = 10.0

_PR_SET_PDEATHSIG = 1


class Signals:
    """Turns signals into events that the main loop handles one at a time.

    So a signal cannot interrupt the start or stop of a process.
    """

    ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        self._also_wake_by: list[socket.socket] = []
        for end in (self._reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noted)
        for number in self.ENDING:
            # A signal that is ignored from outside (nohup, a shell's background job) stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _noted)

    def wait(self, seconds: float) -> int | None:
        """Returns the terminating signal received within this time.

        Returns early when a child ends, or when another file is readable.
        """
        ready, _, _ = select.select([self._reader, *self._also_wake_by], [], [], seconds)
        numbers = os.read(self._reader, 1024) if self._reader in ready else b""
        return next((number for number in numbers if number in self.ENDING), None)

    def also_wake_by(self, connection: socket.socket) -> None:
        self._also_wake_by.append(connection)

    def no_longer_wake_by(self, connection: socket.socket) -> None:
        if connection in self._also_wake_by:
            self._also_wake_by.remove(connection)

    def pause(self, seconds: float) -> None:
        """Like `wait`, but a terminating signal stops what the launcher is doing."""
        number = self.wait(seconds)
        if number is not None:
            raise Stopped(number)


def _noted(_number: int, _frame: object) -> None:
    """The wake-up pipe carries the number; Python writes it only if a handler is installed."""


@dataclass
class Service:
    """A background process with its own session and log file."""

    name: str
    command: Command
    log: Path
    env: Mapping[str, str]
    # Whether the service is ready, not merely running.
    ready: Callable[[], bool]
    cwd: Path | None = None
    account: Account | None = None
    stop_signal: int = signal.SIGTERM

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float | None = None
    # Killed by request, and not restarted until requested.
    kept_down: bool = False
    restart_pause_seconds: float = 0.0

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_launcher(self.stop_signal),
                **as_account(self.account),
            )
        self.started_at = time.monotonic()
        self.restart_at = None

    def wait_ready(self, signals: Signals) -> None:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not self.ready():
            code = self.exit_code()
            if code is not None:
                raise Problem(f"{self.name} {ending(code)} at its start; {self.log_tail()}")
            if time.monotonic() > deadline:
                after = f"after {READY_WITHIN_SECONDS:.0f} s"
                raise Problem(f"{self.name} is not ready {after}; {self.log_tail()}")
            signals.pause(0.05)

    def exit_code(self) -> int | None:
        return self.process.poll() if self.process else None

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        tail = "\n    ".join(lines[-LOG_TAIL_LINES:]) or "(nothing)"
        return f"the end of {self.log} may say why:\n    {tail}"

    def stop(self, signals: Signals) -> None:
        """Terminates it, waits, then kills it; a second Ctrl-C kills it at once."""
        if self.process is None:
            return
        send(self.process.pid, self.stop_signal)
        # A stopped process would not handle a signal.
        send(self.process.pid, signal.SIGCONT)
        deadline = time.monotonic() + GRACE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if signals.wait(0.1) is not None:
                break
        # The whole process group, so that no helper process stays behind.
        send(-self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Services:
    """All services of this launcher, in order, and a record of them on disk."""

    signals: Signals
    record: Path
    running: list[Service] = field(default_factory=list)

    def launch(self, service: Service) -> None:
        self.running.append(service)
        service.start()
        self._write_record()
        service.wait_ready(self.signals)

    def revive(self) -> None:
        """Restarts services that have ended: at once the first time, then with growing pauses."""
        now = time.monotonic()
        for service in self.running:
            code = service.exit_code()
            if code is None or service.kept_down:
                continue
            service.restart_at = service.restart_at or self._plan_restart(service, code, now)
            if now >= service.restart_at:
                service.start()
                self._write_record()
                say(f"started {service.name} again (pid {service.pid})")

    def kill(self, name: str) -> int:
        """Kills a service with SIGKILL, without restarting it; returns the pid that it had."""
        service = self._named(name)
        service.kept_down = True
        send(service.pid, signal.SIGKILL)
        assert service.process is not None
        service.process.wait()
        return service.pid

    def start_again(self, name: str) -> int:
        """Starts a service stopped by `kill`; returns its new pid."""
        service = self._named(name)
        if service.kept_down:
            service.kept_down = False
            service.start()
            self._write_record()
        return service.pid

    def hang(self, name: str) -> int:
        """Stops its execution with its connections open; returns its pid.

        The kernel still accepts connections for it, and buffers their data.
        """
        pid = self.pid_of(name)
        send(pid, signal.SIGSTOP)
        return pid

    def go_on(self, name: str) -> int:
        """Continues a service stopped by `hang`; returns its pid."""
        pid = self.pid_of(name)
        send(pid, signal.SIGCONT)
        return pid

    def while_down(self, name: str, act: Callable[[], None]) -> int:
        """Stops a service gracefully, does something, and starts it again; returns its new pid."""
        service = self._named(name)
        service.stop(self.signals)
        act()
        service.start()
        self._write_record()
        service.wait_ready(self.signals)
        return service.pid

    def replace(self, name: str, change: Callable[[Service], None]) -> int:
        """Stops a service gracefully and starts it in its changed form; returns its new pid."""
        return self.while_down(name, lambda: change(self._named(name)))

    def retire(self, name: str) -> None:
        """Stops a service gracefully and permanently."""
        service = self._named(name)
        service.stop(self.signals)
        self.running.remove(service)
        self._write_record()

    def pid_of(self, name: str) -> int:
        return self._named(name).pid

    def _named(self, name: str) -> Service:
        return {service.name: service for service in self.running}[name]

    def _plan_restart(self, service: Service, code: int, now: float) -> float:
        if now - service.started_at > HEALTHY_AFTER_SECONDS:
            service.restart_pause_seconds = 0.0
        pause = service.restart_pause_seconds
        service.restart_pause_seconds = min(max(1.0, 2 * pause), RESTART_PAUSE_SECONDS_MAX)
        when = f"in {pause:.0f} s" if pause else "now"
        say(f"{service.name} (pid {service.pid}) {ending(code)}: starting it again {when}")
        if pause:
            say(f"{service.name} keeps ending; its log is {service.log}")
        return now + pause

    def stop(self) -> None:
        if self.running:
            say("ending " + ", ".join(service.name for service in reversed(self.running)))
        for service in reversed(self.running):
            service.stop(self.signals)
        self.running.clear()
        self.record.unlink(missing_ok=True)

    def _write_record(self) -> None:
        entries = [[s.name, s.pid, birth(s.pid), int(s.stop_signal)] for s in self.running]
        partial = self.record.with_suffix(".partial")
        partial.write_text(json.dumps(entries))
        partial.replace(self.record)

    def end_left_over(self) -> None:
        """Stops services that an earlier, killed launcher has left behind."""
        try:
            entries = json.loads(self.record.read_text())
        except (FileNotFoundError, ValueError):
            return
        for name, pid, born, stop_signal in reversed(entries):
            # A pid alone proves nothing: it may now belong to another process.
            if born is None or birth(pid) != born:
                continue
            say(f"ending {name} (pid {pid}), left over from an earlier run")
            send(pid, stop_signal)
            deadline = time.monotonic() + GRACE_SECONDS
            while birth(pid) == born and time.monotonic() < deadline:
                self.signals.pause(0.1)
            if birth(pid) == born:
                send(-pid, signal.SIGKILL)
        self.record.unlink(missing_ok=True)


def run(command: Command, signals: Signals, **options: Any) -> int:
    """Runs a step of the launcher; returns its exit code. A terminating signal also stops the
    launcher."""
    code, stopped_by = _in_foreground(command, signals, **options)
    if stopped_by is not None:
        raise Stopped(stopped_by)
    return code


def hand_over(
    command: Command,
    signals: Signals,
    services: Services,
    meanwhile: Callable[[], None] = lambda: None,
    **options: Any,
) -> int:
    """Runs the launched command and keeps the services alive meanwhile; returns its exit code."""

    def look_after() -> None:
        services.revive()
        meanwhile()

    code, _ = _in_foreground(command, signals, meanwhile=look_after, **options)
    return code


def _in_foreground(
    command: Command,
    signals: Signals,
    account: Account | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    **options: Any,
) -> tuple[int, int | None]:
    """Returns the exit code and the terminating signal.

    At a terminal, the command gets Ctrl-C from there, and a shell or psql handles it. Otherwise,
    the command gets its own process group, so that a signal can be passed on to all of it.
    """
    at_terminal = os.isatty(0)
    process = subprocess.Popen(
        command,
        start_new_session=not at_terminal,
        preexec_fn=_end_with_launcher(signal.SIGTERM),
        **as_account(account),
        **options,
    )
    target = process.pid if at_terminal else -process.pid
    stopped_by: int | None = None
    kill_at = float("inf")
    while process.poll() is None:
        number = signals.wait(0.5)
        meanwhile()
        if number is not None and not (at_terminal and number == signal.SIGINT):
            send(target, number)
            kill_at = time.monotonic() + (0 if stopped_by else GRACE_SECONDS)
        stopped_by = number or stopped_by
        if time.monotonic() > kill_at:
            send(target, signal.SIGKILL)
    code = process.returncode
    return (128 - code if code < 0 else code), stopped_by


def _end_with_launcher(number: int) -> Callable[[], None] | None:
    """On Linux the kernel ends a child when its launcher is killed; on other systems the next run
    does."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    launcher = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != launcher:
            os._exit(1)

    return in_child


def send(target: int, number: int) -> None:
    """Signals a process, or its group if the pid is negative; ignores one that is gone."""
    try:
        os.kill(target, number)
    except (ProcessLookupError, PermissionError):
        pass


def birth(pid: int) -> str | None:
    """Distinguishes this process from a later one with the same pid; `None` once it has ended."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    return _ps(pid, "lstart=")


def command_line(pid: int) -> str | None:
    """`None` if there is no such process."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") or None
        except OSError:
            return None
    return _ps(pid, "command=")


def _ps(pid: int, column: str) -> str | None:
    shown = subprocess.run(["ps", "-ww", "-o", column, "-p", str(pid)], capture_output=True)
    return shown.stdout.decode(errors="replace").strip() or None


def ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
