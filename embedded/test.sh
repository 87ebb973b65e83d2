#!/bin/sh
# Runs all tests. Each has its own database, copied from the template, to which the migrations are
# applied once. Run it through `make test`.
set -eu

# An existing Postgres is not changed.
if [ -n "${TEMPLATE_DATABASE_URL-}" ]; then
    MIGRATE_DATABASE_URL=$TEMPLATE_DATABASE_URL cargo run --quiet --locked --example migrate
    # Checks .sqlx, which the build has checked every query against.
    "${PYTHON:-python3}" embedded/queries.py "$TEMPLATE_DATABASE_URL"
fi
# The example consumers of events.
PYTHONPATH=${ORDERSAGA_CONFLUENT_KAFKA-} "${PYTHON:-python3}" -m unittest discover examples/consumers
# The counts of the comparison with peers.
"${PYTHON:-python3}" -m unittest discover peers
# More than there are cores, because many tests mostly wait for a server. Not more than four: sqlx
# limits each test to five connections, and all tests of a process to 20.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
export RUST_TEST_THREADS
exec "${PYTHON:-python3}" embedded/run_tests.py
