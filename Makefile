# What a person types. `make demo` and `make test` set everything up for themselves: they need
# Rust, and Python 3 with pip.

PYTHON ?= python3
STACK  := $(PYTHON) embedded/begin.py stack.py

# Queries are checked against the schema when they are written (`make queries`); everybody else
# builds from the answers in .sqlx, without a database.
export SQLX_OFFLINE := true

.PHONY: help demo test up cluster counterparts counterparts-test brokers matrix mutants bench size chaos chaos-race chaos-ledger soak books invoices pooled fuzz fuzz-parsers docs-run replay lint supply-chain sbom queries queries-check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Built in a fraction of the time, to run slower; what is measured is built for release.
demo up: export ORDERSAGA_PROFILE ?= demo

demo: ## real orders through the whole system, what everybody was told of them, and the proof that the books hold; PROVIDER=stripe: with disputes, lost webhooks and payouts (ORDERS=path N=count)
	@$(STACK) demo $(if $(PROVIDER),--provider $(PROVIDER))

up: ## the whole system, until Ctrl-C
	@$(STACK) up

test: ## every test, against a real Temporal server and a real Postgres
	@$(PYTHON) -m unittest discover embedded
	@$(PYTHON) -m unittest discover mutants
	@$(PYTHON) -m unittest discover docs
	@$(STACK) test --with stripe --with tansu --with rabbitmq --with mail --where-possible -- sh embedded/test.sh
	@ORDERSAGA_PROFILE=dev $(STACK) fuzz -- 3
	@ORDERSAGA_PROFILE=dev $(PYTHON) embedded/docs_run.py

docs-run: ## the commands of README and docs, as they stand there, against a Postgres and a Temporal that know nothing of Ordersaga (GROUPS="api operate")
	@$(PYTHON) embedded/docs_run.py $(GROUPS)

counterparts: ## fetches who stands for outside parties in tests, and says what is there
	@$(PYTHON) embedded/counterparts.py

counterparts-test: ## payments against localstripe, which a proxy has answer, and go wrong, as Stripe does
	@$(STACK) test --with stripe -- cargo test --workspace --locked --test counterparts --test activities -- proxy:: stripe_counterpart::

brokers: ## events through tansu, Apache Kafka (Java, Maven) and RabbitMQ, read back by others; says what is missing
	@$(STACK) test --with tansu --with kafka --with rabbitmq -- cargo test --workspace --locked --test brokers

matrix: ## every fault at every step and undo, cancelled at every moment; then several at once (ORDERS=300 SEED=42 ONLY=text PROVIDER=stripe, or bank-transfer)
ifeq ($(PROVIDER),stripe)
	@$(STACK) test --with stripe -- cargo test --quiet --locked --workspace --test matrix -- --provider stripe --at-once 16 --whole $(if $(ONLY),--only "$(ONLY)")
else ifeq ($(PROVIDER),bank-transfer)
	@$(STACK) test -- cargo test --quiet --locked --workspace --test matrix -- --provider bank-transfer --whole $(if $(ONLY),--only "$(ONLY)")
else
	@$(STACK) test -- sh -c 'cargo test --quiet --locked --workspace --test matrix -- --whole $(if $(ONLY),--only "$(ONLY)") \
		&& cargo test --quiet --locked --workspace --test matrix -- --orders $(or $(ORDERS),300) $(if $(SEED),--seed $(SEED))'
endif

mutants: ## plants one bug at a time in a copy of the code: each is to be caught; needs Go, for Mailpit (ONLY=text of a name, IN=folder)
	@$(STACK) test --with mail -- $(PYTHON) mutants/run.py $(if $(ONLY),--only "$(ONLY)") $(if $(IN),--in "$(IN)")

cluster: ## the whole system on a Temporal cluster of three nodes with a Postgres of its own, until Ctrl-C; needs Go, which builds the server once; balanced by haproxy, where it is there
	@$(STACK) up --cluster

bench: ## orders per second, beside an empty workflow and the textbook saga; CLUSTER=1: on a cluster; PEERS=1: and beside DBOS, Restate and Temporal's Go and Python SDKs, which also have their programs killed (needs Go and node for those; SECONDS=15)
ifdef PEERS
	@$(PYTHON) embedded/peers.py $(if $(SECONDS),--seconds $(SECONDS))
else
	@$(STACK) bench $(if $(CLUSTER),--cluster)
endif

size: ## a small shop and one of a million orders: what takes longer, and what does not (ORDERS=1000000)
	@$(STACK) size

chaos: ## orders while everything is killed with -9 again and again, then three things that hang, then three disasters, and what came of it; CLUSTER=1: instead, what befalls a cluster's nodes, database and network, and a rolling upgrade from UPGRADE_FROM=commit (FAULT=name) (SECONDS=60 SEED=n DISASTER=name PROVIDER=stripe, or bank-transfer)
	@$(STACK) chaos $(if $(PROVIDER),--provider $(PROVIDER)) $(if $(CLUSTER),--cluster) $(if $(UPGRADE_FROM),--upgrade-from $(UPGRADE_FROM))

chaos-race: ## a thousand buyers at once for the last few pieces, the worker killed meanwhile (BUYERS= ITEMS= ROUNDS=)
	@$(STACK) chaos-race

chaos-ledger: ## every way to unbalance or rewrite the books, and what refuses it
	@$(STACK) chaos-ledger

soak: ## steady load for long, with deaths now and then: what memory, files, tables and histories come to (MINUTES=30 PER_SECOND=n SEED=n)
	@$(STACK) soak

books: ## the demo, and its books checked by hledger and beancount, which also have to catch a cent (HLEDGER=program N=count PROVIDER=stripe)
	@$(STACK) books $(if $(PROVIDER),--provider $(PROVIDER))

invoices: ## the demo, and its invoices judged by Mustang (needs Java and Maven) and factur-x, which also have to catch a wrong one (N=count JUDGE=factur-x: without Mustang)
	@$(STACK) invoices

pooled: ## the demo with PgBouncer in transaction mode before Postgres (PGBOUNCER=program N=count)
	@$(STACK) pooled

fuzz: ## all that the API's description allows and much that it does not, against the running shop (CASES=40)
	@$(STACK) fuzz -- $(or $(CASES),40)

fuzz-parsers: ## every reader of outside bytes, fed with what reaches new code; needs a C++ compiler (SECONDS=60 a target, ONLY=target INPUT=file)
	@$(PYTHON) fuzz/run.py --seconds $(or $(SECONDS),60) $(if $(ONLY),--only $(ONLY)) $(if $(INPUT),--input $(INPUT))

replay: ## the recorded histories against today's code (HISTORIES=file or folder)
	@cargo run --quiet --locked -p ordersaga -- replay $(or $(HISTORIES),worker/tests/histories)

lint: ## formatting, lints, documentation, and what is published for others to read: all clean
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
	@! grep -n '^name = "aws-lc' Cargo.lock || { echo "all cryptography is ring's: cargo tree --invert aws-lc-rs says who brings another"; false; }
	$(PYTHON) embedded/contracts.py
	$(PYTHON) embedded/supply_chain.py --where-possible

supply-chain: ## unused dependencies, licences, sources and known vulnerabilities (ORDERSAGA_ADVISORIES=clone of RustSec's)
	@$(PYTHON) embedded/supply_chain.py

sbom: ## a bill of materials of `ordersaga`, as SPDX and CycloneDX, in sbom/
	@$(PYTHON) embedded/supply_chain.py sbom sbom

queries: ## checks every query against the schema anew, after a change of SQL
	@$(STACK) test -- sh migrations/check-queries.sh

queries-check: ## whether .sqlx agrees with the schema, without building what asks (make test does it too)
	@$(STACK) test -- sh -c 'MIGRATE_DATABASE_URL=$$TEMPLATE_DATABASE_URL cargo run --quiet --locked --example migrate \
		&& $(PYTHON) embedded/queries.py "$$TEMPLATE_DATABASE_URL"'

clean: ## forgets the data of demo, bench and up; keeps what was built
	rm -rf .ordersaga
