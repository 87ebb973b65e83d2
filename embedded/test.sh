#!/bin/sh
# Every test. Each has a database of its own, which is a copy of the template: with the migrations
# applied to that once, a test need not apply them. Run it through `make test`.
set -eu

# A Postgres that was there before is left as it is.
if [ -n "${TEMPLATE_DATABASE_URL-}" ]; then
    MIGRATE_DATABASE_URL=$TEMPLATE_DATABASE_URL cargo run --quiet --locked --example migrate
    # The answers by which every query was checked when it was built.
    "${PYTHON:-python3}" embedded/queries.py "$TEMPLATE_DATABASE_URL"
fi
# What a shop writes that reads the events.
PYTHONPATH=${ORDERSAGA_CONFLUENT_KAFKA-} "${PYTHON:-python3}" -m unittest discover examples/consumers
# What the comparison with peers counts.
"${PYTHON:-python3}" -m unittest discover peers
exec cargo test --workspace --locked --no-fail-fast
