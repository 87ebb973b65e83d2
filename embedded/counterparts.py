#!/usr/bin/env python3
"""The counterparts of outside parties that tests run against, and where they are fetched from.

Run by itself, fetches what is missing and prints what is there. `localstripe` keeps payments as
Stripe does, `stripe-mock` judges requests by Stripe's own description, `toxiproxy` breaks the
network between any two programs, Mailpit takes mails and refuses them on command, and aiosmtpd loses
its answers. They are programs of their own, never linked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from account import account_for
from console import Problem, say
from fetch import cache_folder, one_at_a_time
from ports import Ports, listens
from processes import Service, Signals
from tools import fetched

LOCALSTRIPE = "localstripe==1.15.10"
# The path is written into its source. `--from-scratch` keeps it from being read.
LOCALSTRIPE_STATE = Path("/tmp/localstripe.pickle")
LOCALSTRIPE_PORT = 8420
STRIPE_MOCK_PORT = 12111
STRIPE_PROXY_PORT = 12110
AIOSMTPD = "aiosmtpd==1.4.6"
MAILPIT_PORT = 1025
MAILPIT_API_PORT = 8025
CUTTING_MAIL_PORT = 1026
# Nobody's: Stripe gives out longer ones.
API_KEY = "sk_test_ordersaga"


@dataclass(frozen=True)
class GoTool:
    """A program that `go install` builds; only those who have Go have it."""

    name: str
    package: str
    version: str
    # What `go install` calls it.
    built_as: str
    does: str

    def folder(self, cache: Path) -> Path:
        return cache / f"{self.name}-{self.version}"

    def program(self, cache: Path) -> Path:
        return self.folder(cache) / self.name

    def fetch(self, cache: Path) -> Path | None:
        """The program; None where it cannot be had, which is said."""
        if self.program(cache).exists():
            return self.program(cache)
        go = shutil.which("go")
        if go is None:
            say(f"there is no {self.name}, which go builds: install Go from https://go.dev/dl")
            return None
        say(f"building {self.name} {self.version} into {cache}, once")
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            built = Path(scratch, "built")
            command = [go, "install", f"{self.package}@{self.version}"]
            env = {**os.environ, "GOBIN": str(built)}
            if subprocess.run(command, env=env, stdout=sys.stderr.fileno()).returncode:
                say(f"there is no {self.name}: go's message above says why")
                return None
            (built / self.built_as).rename(built / self.name)
            built.rename(self.folder(cache))
        return self.program(cache)


STRIPE_MOCK = GoTool(
    name="stripe-mock",
    package="github.com/stripe/stripe-mock",
    version="v0.203.0",
    built_as="stripe-mock",
    does="judges requests by Stripe's description",
)
TOXIPROXY = GoTool(
    name="toxiproxy-server",
    package="github.com/Shopify/toxiproxy/v2/cmd/server",
    version="v2.5.0",
    built_as="server",
    does="breaks the network on command",
)

MAILPIT = GoTool(
    name="mailpit",
    package="github.com/axllent/mailpit",
    version="v1.33.1",
    built_as="mailpit",
    does="takes mails, and refuses them on command",
)


def refuse_foreign_state(state: Path = LOCALSTRIPE_STATE) -> None:
    """localstripe writes its state at every call, and answers 500 where it cannot."""
    if state.exists() and not os.access(state, os.W_OK):
        raise Problem(f"{state} is another user's, and localstripe writes it: delete it as that user")


@dataclass(frozen=True)
class StripeCounterparts:
    """Who stands for Stripe: localstripe, the proxy before it, and stripe-mock where there is Go."""

    localstripe: Path
    stripe_mock: Path | None
    proxy: str
    logs: Path
    ports: Ports

    def services(self) -> list[Service]:
        """In the order of their start; the last one is the proxy."""
        behind = self.ports.choose("localstripe", LOCALSTRIPE_PORT)
        program = self.localstripe / "bin" / "localstripe"
        env = {**os.environ, "PYTHONPATH": str(self.localstripe)}
        command = [sys.executable, program, "--port", str(behind), "--from-scratch"]
        services = [self._service("localstripe", command, behind, env)]
        judged: list[str] = []
        if self.stripe_mock:
            judge = self.ports.choose("stripe-mock", STRIPE_MOCK_PORT)
            # It wants a port for HTTPS too: any.
            where = ["-http-addr", f"127.0.0.1:{judge}", "-https-addr", "127.0.0.1:"]
            services.append(self._service("stripe-mock", [self.stripe_mock, *where], judge))
            judged = ["--stripe-mock", f"http://127.0.0.1:{judge}"]
        port = self.ports.choose("Stripe's proxy", STRIPE_PROXY_PORT)
        command = [self.proxy, "--listen", f"127.0.0.1:{port}"]
        command += ["--localstripe", f"http://127.0.0.1:{behind}", *judged]
        return [*services, self._service("stripe-proxy", command, port)]

    def _service(
        self, name: str, command: list[str | Path], port: int, env: dict[str, str] | None = None
    ) -> Service:
        return Service(
            name=name,
            command=command,
            log=self.logs / f"{name}.log",
            env=env or os.environ,
            ready=partial(listens, port),
        )


def settings_for(services: list[Service]) -> dict[str, str]:
    """What a program needs to take the proxy for Stripe, and the proxy's own tests need."""
    proxy = [str(part) for part in services[-1].command]
    url = f"http://{proxy[proxy.index('--listen') + 1]}"
    settings = {"STRIPE_API_URL": url, "STRIPE_API_KEY": API_KEY, "ORDERSAGA_STRIPE_URL": url}
    settings["LOCALSTRIPE_URL"] = proxy[proxy.index("--localstripe") + 1]
    if "--stripe-mock" in proxy:
        settings["STRIPE_MOCK_URL"] = proxy[proxy.index("--stripe-mock") + 1]
    return settings


@dataclass(frozen=True)
class MailCounterparts:
    """Who takes the shop's mails: Mailpit, and aiosmtpd, which passes them on and cuts."""

    mailpit: Path
    aiosmtpd: Path
    data: Path
    ports: Ports
    # Whether Mailpit has all mails again after its death.
    keeps: bool = False

    def services(self) -> list[Service]:
        kept: list[str | Path] = []
        if self.keeps:
            # And no addresses in its log, which is looked at like all others.
            kept = ["--database", self.data / "mailpit.db", "--max", "0", "--quiet"]
        smtp = self.ports.choose("Mailpit", MAILPIT_PORT)
        api = self.ports.choose("Mailpit's API", MAILPIT_API_PORT)
        cutting = self.ports.choose("the mail server that cuts", CUTTING_MAIL_PORT)
        where = ["--smtp", f"127.0.0.1:{smtp}", "--listen", f"127.0.0.1:{api}"]
        program = Path(__file__).resolve().parent / "cutting_mail_server.py"
        return [
            Service(
                name="mailpit",
                command=[self.mailpit, *where, "--enable-chaos", *kept],
                log=self.data / "logs" / "mailpit.log",
                env={**os.environ, "MP_DISABLE_VERSION_CHECK": "true"},
                ready=partial(listens, api),
            ),
            Service(
                name="cutting-mail-server",
                command=[sys.executable, program, str(cutting), str(smtp)],
                log=self.data / "logs" / "cutting-mail-server.log",
                env={**os.environ, "PYTHONPATH": str(self.aiosmtpd)},
                ready=partial(listens, cutting),
            ),
        ]


def mail_settings_for(services: list[Service]) -> dict[str, str]:
    """Where the tests of mails find them."""
    mailpit, cutting = ([str(part) for part in service.command] for service in services)
    return {
        "ORDERSAGA_MAILPIT_URL": f"http://{mailpit[mailpit.index('--listen') + 1]}",
        "ORDERSAGA_MAILPIT_PORT": mailpit[mailpit.index("--smtp") + 1].rpartition(":")[2],
        "ORDERSAGA_CUTTING_MAIL_PORT": cutting[2],
    }


def fetch_localstripe(cache: Path) -> Path:
    return fetched(cache, (LOCALSTRIPE,))


def main() -> int:
    cache = cache_folder(os.environ, account_for(Path.cwd()))
    with one_at_a_time(cache, Signals()):
        localstripe = fetch_localstripe(cache)
        aiosmtpd = fetched(cache, (AIOSMTPD,))
        tools = [(tool, tool.fetch(cache)) for tool in (STRIPE_MOCK, TOXIPROXY, MAILPIT)]
    rows = [(LOCALSTRIPE.replace("==", " "), "keeps payments as Stripe does", localstripe)]
    rows += [(AIOSMTPD.replace("==", " "), "loses its answers to mails", aiosmtpd)]
    rows += [(f"{tool.name} {tool.version}", tool.does, path) for tool, path in tools]
    for name, does, path in rows:
        print(f"{name:26}  {does:40}  {path or 'missing'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
