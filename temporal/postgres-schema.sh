#!/bin/sh
# Creates or upgrades the two databases of a Temporal cluster on Postgres, with the temporal-sql-tool
# of the server's version, which contains the schemas. Idempotent.
#
#   SQL_HOST=… SQL_USER=temporal SQL_PASSWORD=… temporal/postgres-schema.sh
#
# TEMPORAL_SQL_TOOL names the tool if it is not on PATH under this name.
set -eu
: "${SQL_HOST:?set it to the Postgres host}" "${SQL_USER:?}" "${SQL_PASSWORD:?}"

prepare() { # database, its schema
    tool="${TEMPORAL_SQL_TOOL:-temporal-sql-tool} --plugin postgres12 --ep $SQL_HOST --port ${SQL_PORT:-5432} --user $SQL_USER --db $1"
    $tool create
    $tool setup-schema --version 0.0
    $tool update-schema --schema-name "postgresql/v12/$2"
}

prepare temporal temporal
prepare temporal_visibility visibility
