#!/bin/sh
# Makes or upgrades the two databases of a Temporal cluster on Postgres, with temporal-sql-tool of
# the same version as the server. Running it again changes nothing.
#
#   SQL_HOST=… SQL_USER=temporal SQL_PASSWORD=… temporal/postgres-schema.sh
set -eu
: "${SQL_HOST:?set it to the Postgres host}" "${SQL_USER:?}" "${SQL_PASSWORD:?}"
schemas=${TEMPORAL_SCHEMAS:-/etc/temporal/schema/postgresql/v12}

prepare() { # database, folder of its schema
    tool="temporal-sql-tool --plugin postgres12 --ep $SQL_HOST --port ${SQL_PORT:-5432} --user $SQL_USER --db $1"
    $tool create
    $tool setup-schema --version 0.0
    $tool update-schema --schema-dir "$schemas/$2/versioned"
}

prepare temporal temporal
prepare temporal_visibility visibility
