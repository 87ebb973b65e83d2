# Targets for developers. `make demo` and `make test` set up everything themselves: they need Rust,
# and Python 3 with pip.

PYTHON ?= python3
STACK  := $(PYTHON) embedded/begin.py stack.py

# sqlx checks queries against a database only when they change (`make queries`); every other build
# uses the results in .sqlx, without a database.
export SQLX_OFFLINE := true

.PHONY: help demo test up cluster counterparts counterparts-test brokers matrix mutants bench size chaos chaos-race chaos-ledger soak books invoices pooled fuzz fuzz-parsers docs-run replay lint supply-chain sbom book queries queries-check clean

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Built without optimisation and without the brokers' clients, and the demo also without GraphQL, in a
# fraction of the time. What is measured is built for release.
demo up: export ORDERSAGA_PROFILE ?= demo

demo: ## runs real orders through the whole system, reports what every sink received, and proves the books; PROVIDER=stripe adds disputes, lost webhooks and payouts, KAFKA=1 a broker and a consumer (ORDERS=path N=count)
	@$(STACK) demo $(if $(PROVIDER),--provider $(PROVIDER)) $(if $(KAFKA),--with tansu)

up: ## runs the whole system until Ctrl-C
	@$(STACK) up

test: ## runs all tests, against a real Temporal server and a real Postgres
	@$(PYTHON) -m unittest discover embedded
	@$(PYTHON) -m unittest discover mutants
	@$(PYTHON) -m unittest discover docs
	@$(STACK) test --with stripe --with tansu --with rabbitmq --with mail --where-possible -- sh embedded/test.sh
	@ORDERSAGA_PROFILE=dev $(STACK) fuzz -- 3
	@ORDERSAGA_PROFILE=dev $(PYTHON) embedded/docs_run.py

docs-run: ## runs the commands in README and docs verbatim, against a fresh Postgres and Temporal (GROUPS="api operate")
	@$(PYTHON) embedded/docs_run.py $(GROUPS)

counterparts: ## fetches the test counterparts of outside services, and reports which are available
	@$(PYTHON) embedded/counterparts.py

counterparts-test: ## tests payments against localstripe, behind a proxy that adds Stripe's behaviour and faults
	@$(STACK) test --with stripe -- cargo test --workspace --locked --test counterparts --test activities -- proxy:: stripe_counterpart::

brokers: ## tests events through tansu, Apache Kafka (needs Java, Maven) and RabbitMQ, read back by independent clients; reports what is missing
	@$(STACK) test --with tansu --with kafka --with rabbitmq -- cargo test --workspace --locked --test brokers

matrix: ## injects every fault at every step and undo, and cancels at every point; then combines faults at random (ORDERS=300 SEED=42 ONLY=text PROVIDER=stripe, or bank-transfer)
ifeq ($(PROVIDER),stripe)
	@$(STACK) test --with stripe -- cargo test --quiet --locked --workspace --test matrix -- --provider stripe --at-once 16 --whole $(if $(ONLY),--only "$(ONLY)")
else ifeq ($(PROVIDER),bank-transfer)
	@$(STACK) test -- cargo test --quiet --locked --workspace --test matrix -- --provider bank-transfer --whole $(if $(ONLY),--only "$(ONLY)")
else
	@$(STACK) test -- sh -c 'cargo test --quiet --locked --workspace --test matrix -- --whole $(if $(ONLY),--only "$(ONLY)") \
		&& cargo test --quiet --locked --workspace --test matrix -- --orders $(or $(ORDERS),300) $(if $(SEED),--seed $(SEED))'
endif

mutants: ## mutation tests: plants one bug at a time in a copy of the code, which a check must catch; needs Go, for Mailpit (ONLY=text of a name, IN=folder)
	@$(STACK) test --with mail -- $(PYTHON) mutants/run.py $(if $(ONLY),--only "$(ONLY)") $(if $(IN),--in "$(IN)")

cluster: ## runs the whole system on a three-node Temporal cluster with its own Postgres, until Ctrl-C; needs Go to build the server once; uses haproxy as load balancer if available
	@$(STACK) up --cluster

bench: ## measures orders per second against an empty workflow and the textbook saga; CLUSTER=1: on a cluster; PEERS=1: also against DBOS, Restate and Temporal's Go and Python SDKs, including process kills (needs Go and node; SECONDS=15)
ifdef PEERS
	@$(PYTHON) embedded/peers.py $(if $(SECONDS),--seconds $(SECONDS))
else
	@$(STACK) bench $(if $(CLUSTER),--cluster)
endif

size: ## compares a small shop with one of a million orders: which operations become slower (ORDERS=1000000)
	@$(STACK) size

chaos: ## places orders while every process is killed with -9 repeatedly, then through three hangs and three disasters, and checks the results; CLUSTER=1: instead, faults of a cluster's nodes, database and network, and a rolling upgrade from UPGRADE_FROM=commit (FAULT=name) (SECONDS=60 SEED=n DISASTER=name PROVIDER=stripe, or bank-transfer)
	@$(STACK) chaos $(if $(PROVIDER),--provider $(PROVIDER)) $(if $(CLUSTER),--cluster) $(if $(UPGRADE_FROM),--upgrade-from $(UPGRADE_FROM))

chaos-race: ## lets a thousand concurrent buyers compete for the last few pieces, and kills the worker meanwhile (BUYERS= ITEMS= ROUNDS=)
	@$(STACK) chaos-race

chaos-ledger: ## tries every way to unbalance or rewrite the books, and shows what rejects it
	@$(STACK) chaos-ledger

soak: ## steady load with occasional kills: how memory, files, tables and histories grow (MINUTES=30 PER_SECOND=n SEED=n)
	@$(STACK) soak

books: ## runs the demo and has hledger and beancount verify its books, and detect an error of one cent (HLEDGER=program N=count PROVIDER=stripe)
	@$(STACK) books $(if $(PROVIDER),--provider $(PROVIDER))

invoices: ## runs the demo and has Mustang (needs Java and Maven) and factur-x validate its invoices, and detect an invalid one (N=count JUDGE=factur-x: without Mustang)
	@$(STACK) invoices

pooled: ## runs the demo with PgBouncer in transaction mode in front of Postgres (PGBOUNCER=program N=count)
	@$(STACK) pooled

fuzz: ## fuzzes the API of a running shop, with requests inside and outside of its OpenAPI description (CASES=40)
	@$(STACK) fuzz -- $(or $(CASES),40)

fuzz-parsers: ## coverage-guided fuzzing of every parser of outside input; needs a C++ compiler (SECONDS=60 per target, ONLY=target INPUT=file)
	@$(PYTHON) fuzz/run.py --seconds $(or $(SECONDS),60) $(if $(ONLY),--only $(ONLY)) $(if $(INPUT),--input $(INPUT))

replay: ## replays the recorded histories against the current code (HISTORIES=file or folder)
	@cargo run --quiet --locked -p ordersaga -- replay $(or $(HISTORIES),worker/tests/histories)

lint: ## checks formatting, lints, documentation and published contracts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
	@! grep -n '^name = "aws-lc' Cargo.lock || { echo "only ring is allowed for cryptography: `cargo tree --invert aws-lc-rs` shows what depends on another library"; false; }
	$(PYTHON) embedded/contracts.py
	$(PYTHON) embedded/supply_chain.py --where-possible
	$(PYTHON) embedded/book.py --where-possible

supply-chain: ## checks dependencies: unused ones, licences, sources and known vulnerabilities (ORDERSAGA_ADVISORIES=clone of RustSec's)
	@$(PYTHON) embedded/supply_chain.py

sbom: ## writes the software bill of materials of `ordersaga`, as SPDX and CycloneDX, to sbom/
	@$(PYTHON) embedded/supply_chain.py sbom sbom

book: ## builds the documentation as a book, in book/
	@$(PYTHON) embedded/book.py

queries: ## checks every query against the schema and updates .sqlx, after a change of SQL
	@$(STACK) test -- sh migrations/check-queries.sh

queries-check: ## checks .sqlx against the schema, without compiling the programs (make test does it too)
	@$(STACK) test -- sh -c 'MIGRATE_DATABASE_URL=$$TEMPLATE_DATABASE_URL cargo run --quiet --locked --example migrate \
		&& $(PYTHON) embedded/queries.py "$$TEMPLATE_DATABASE_URL"'

clean: ## deletes the data of demo, bench and up; keeps build outputs
	rm -rf .ordersaga
