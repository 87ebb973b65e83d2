#!/usr/bin/env python3
"""The counterparts of outside parties that tests run against, and where they are fetched from.

As a program, fetches missing counterparts and prints which are available. `localstripe` stores
payments like Stripe, `stripe-mock` validates requests against Stripe's OpenAPI description,
`toxiproxy` breaks the network between two programs, Mailpit accepts mails and rejects them on
command, and aiosmtpd drops its answers. They are separate programs, never linked.
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
# The path is hard-coded. `--from-scratch` prevents it from being read.
LOCALSTRIPE_STATE = Path("/tmp/localstripe.pickle")
LOCALSTRIPE_PORT = 8420
STRIPE_MOCK_PORT = 12111
STRIPE_PROXY_PORT = 12110
AIOSMTPD = "aiosmtpd==1.4.6"
MAILPIT_PORT = 1025
MAILPIT_API_PORT = 8025
CUTTING_MAIL_PORT = 1026
STRICT_MAILPIT_PORT = 1587
STRICT_MAILPIT_API_PORT = 8026
# The SMTP credentials of a test run, used nowhere else.
STRICT_MAILPIT_USER = "shop"
STRICT_MAILPIT_PASSWORD = "takes-mails-of-tests-alone"
# Not a real key: Stripe's keys are longer.
API_KEY = "sk_test_ordersaga"


@dataclass(frozen=True)
class GoTool:
    """A program built with `go install`, available only where Go is installed."""

    name: str
    package: str
    version: str
    # The name of the binary that `go install` builds.
    built_as: str
    does: str

    def folder(self, cache: Path) -> Path:
        return cache / f"{self.name}-{self.version}"

    def program(self, cache: Path) -> Path:
        return self.folder(cache) / self.name

    def fetch(self, cache: Path) -> Path | None:
        """The program; `None` with a message if it is not available."""
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
    """localstripe writes its state at every call, and answers 500 if it cannot."""
    if state.exists() and not os.access(state, os.W_OK):
        raise Problem(f"{state} is another user's, and localstripe writes it: delete it as that user")


@dataclass(frozen=True)
class StripeCounterparts:
    """The counterparts of Stripe: localstripe, the proxy in front of it, and stripe-mock if Go is
    installed."""

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
            # It also needs a port for HTTPS: any will do.
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
    """The environment that makes a program use the proxy as Stripe, and that of the proxy's own
    tests."""
    proxy = [str(part) for part in services[-1].command]
    url = f"http://{proxy[proxy.index('--listen') + 1]}"
    settings = {"STRIPE_API_URL": url, "STRIPE_API_KEY": API_KEY, "ORDERSAGA_STRIPE_URL": url}
    settings["LOCALSTRIPE_URL"] = proxy[proxy.index("--localstripe") + 1]
    if "--stripe-mock" in proxy:
        settings["STRIPE_MOCK_URL"] = proxy[proxy.index("--stripe-mock") + 1]
    return settings


@dataclass(frozen=True)
class MailCounterparts:
    """The mail servers for tests: Mailpit, and aiosmtpd, which forwards mails and drops its
    answers."""

    mailpit: Path
    aiosmtpd: Path
    data: Path
    ports: Ports
    # Whether Mailpit persists its mails across a kill.
    keeps: bool = False

    def services(self) -> list[Service]:
        kept: list[str | Path] = []
        if self.keeps:
            # No addresses in its log, which is checked for personal data like all others.
            kept = ["--database", self.data / "mailpit.db", "--max", "0", "--quiet"]
        smtp = self.ports.choose("Mailpit", MAILPIT_PORT)
        api = self.ports.choose("Mailpit's API", MAILPIT_API_PORT)
        cutting = self.ports.choose("the mail server that cuts", CUTTING_MAIL_PORT)
        ports = [str(cutting), str(smtp)]
        return [
            mailpit_service(self.mailpit, self.data, smtp, api, "--enable-chaos", *kept),
            aiosmtpd_service("cutting-mail-server", self.aiosmtpd, self.data, cutting, ports),
        ]


def mailpit_service(
    program: Path, data: Path, smtp: int, api: int, *options: str | Path, name: str = "mailpit"
) -> Service:
    where = ["--smtp", f"127.0.0.1:{smtp}", "--listen", f"127.0.0.1:{api}"]
    return Service(
        name=name,
        command=[program, *where, *options],
        log=data / "logs" / f"{name}.log",
        env={**os.environ, "MP_DISABLE_VERSION_CHECK": "true"},
        ready=partial(listens, api),
    )


# A self-signed certificate for one address, which can sign nothing else.
CERTIFICATE = """
[req]
distinguished_name = name
x509_extensions = server
prompt = no
[name]
CN = a mail server of tests
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
"""


def strict_mailpit(
    program: Path, data: Path, ports: Ports
) -> tuple[Service, dict[str, str]] | None:
    """A Mailpit that accepts only authenticated mails over STARTTLS, and the environment for tests.

    Returns `None` with a message if openssl, which makes its certificate, is not installed.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        say("there is no openssl, so no mail server with a certificate: install openssl")
        return None
    folder = data / "strict-mailpit"
    folder.mkdir(parents=True, exist_ok=True)
    made_by, key, certificate, users = (
        folder / name for name in ("openssl.cnf", "key.pem", "certificate.pem", "users")
    )
    made_by.write_text(CERTIFICATE)
    users.write_text(f"{STRICT_MAILPIT_USER}:{STRICT_MAILPIT_PASSWORD}\n")
    command = [openssl, "req", "-x509", "-config", made_by, "-days", "2", "-nodes"]
    command += ["-newkey", "rsa:2048", "-keyout", key, "-out", certificate]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        say(f"openssl cannot make a certificate for a mail server: {made.stderr.strip()}")
        return None
    smtp = ports.choose("the strict Mailpit", STRICT_MAILPIT_PORT)
    api = ports.choose("the strict Mailpit's API", STRICT_MAILPIT_API_PORT)
    options = ["--smtp-tls-cert", certificate, "--smtp-tls-key", key]
    options += ["--smtp-require-starttls", "--smtp-auth-file", users]
    service = mailpit_service(program, data, smtp, api, *options, name="strict-mailpit")
    return service, {
        "ORDERSAGA_STRICT_MAILPIT_URL": f"http://127.0.0.1:{api}",
        "ORDERSAGA_STRICT_MAILPIT_PORT": str(smtp),
        "ORDERSAGA_STRICT_MAILPIT_USER": STRICT_MAILPIT_USER,
        "ORDERSAGA_STRICT_MAILPIT_PASSWORD": STRICT_MAILPIT_PASSWORD,
        "ORDERSAGA_STRICT_MAILPIT_CA": str(certificate),
    }


def aiosmtpd_service(
    name: str, library: Path, data: Path, port: int, arguments: list[str]
) -> Service:
    program = Path(__file__).resolve().parent / "cutting_mail_server.py"
    return Service(
        name=name,
        command=[sys.executable, program, *arguments],
        log=data / "logs" / f"{name}.log",
        env={**os.environ, "PYTHONPATH": str(library)},
        ready=partial(listens, port),
    )


def who_takes_mails(cache: Path, data: Path, ports: Ports) -> tuple[Service, dict[str, str]]:
    """The demo's mail server, and the relay's settings for it: Mailpit, which shows the mails,
    otherwise aiosmtpd, which discards them.

    **Raises** `Problem` with a one-line message if neither is available.
    """
    mailpit = MAILPIT.fetch(cache)
    smtp = ports.choose("the mail server", MAILPIT_PORT)
    settings = {
        "MAIL_SERVER": f"127.0.0.1:{smtp}",
        "MAIL_TLS": "off",
        "MAIL_FROM": "The Shop <orders@shop.example>",
    }
    if mailpit is None:
        library = fetched(cache, (AIOSMTPD,))
        return aiosmtpd_service("mail-server", library, data, smtp, [str(smtp)]), settings
    api = ports.choose("Mailpit's API", MAILPIT_API_PORT)
    settings["ORDERSAGA_MAILPIT_URL"] = f"http://127.0.0.1:{api}"
    # Its log would contain recipients.
    return mailpit_service(mailpit, data, smtp, api, "--quiet"), settings


def mail_settings_for(services: list[Service]) -> dict[str, str]:
    """The environment for tests of mails."""
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
