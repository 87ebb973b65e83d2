#!/bin/sh
# Asks a fresh database about every query in the code, and keeps the answers in .sqlx, from
# which everybody builds without a database. Run it through `make queries`.
set -eu

answers=$PWD/.sqlx
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# An example and not `ordersaga migrate`, which only compiles once every query has been checked.
SQLX_OFFLINE=true cargo run --quiet --locked --example migrate
rm -rf "$answers"
mkdir "$answers"
# A query is asked about when its crate is compiled, so the crates that ask are compiled anew.
for crate in activities worker starter-api relay testkit; do
    find "$crate" -name '*.rs' -exec touch {} +
done
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$answers SQLX_TMP=$scratch \
    cargo check --workspace --all-targets --locked --keep-going
echo "$(ls "$answers" | wc -l) queries agree with the schema; commit .sqlx"
