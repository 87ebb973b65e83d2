#!/bin/sh
# Every test. Each has a database of its own, which is a copy of the template: with the migrations
# applied to that once, a test need not apply them. Run it through `make test`.
set -eu

# A Postgres that was there before is left as it is.
if [ -n "${TEMPLATE_DATABASE_URL-}" ]; then
    MIGRATE_DATABASE_URL=$TEMPLATE_DATABASE_URL cargo run --quiet --locked --example migrate
fi
# What a shop writes that reads the events.
"${PYTHON:-python3}" -m unittest discover examples/consumers
exec cargo test --workspace --locked --no-fail-fast
