#!/bin/sh
# Prepares a namespace for Ordersaga on any Temporal cluster: creates it if it is missing, and adds
# missing search attributes. Idempotent.
#
#   TEMPORAL_ADDRESS=host:7233 TEMPORAL_NAMESPACE=default TEMPORAL_RETENTION=7d temporal/setup.sh
#
# The connection (TLS, API key) comes from the environment too: see temporal/README.md, which also
# says how Temporal Cloud differs.
set -eu

temporal=${TEMPORAL_CLI:-temporal}
export TEMPORAL_ADDRESS="${TEMPORAL_ADDRESS:-127.0.0.1:7233}"
export TEMPORAL_NAMESPACE="${TEMPORAL_NAMESPACE:-default}"
retention=${TEMPORAL_RETENTION:-7d}

# Retries: a cluster that has just started rejects calls for some seconds, and is slow to recognise a
# new namespace. Errors are shown only if they persist.
patiently() {
    tries=1
    until said=$("$@" 2>&1); do
        [ "$tries" -lt 30 ] || {
            [ -z "$said" ] || echo "$said" >&2
            echo "setup.sh: gave up on: $*" >&2
            return 1
        }
        tries=$((tries + 1))
        sleep 2
    done
    [ -z "$said" ] || echo "$said"
}

wanted() { sed -e 's/#.*//' -e '/^ *$/d' "$(dirname "$0")/search-attributes.txt"; }
attributes() { "$temporal" operator search-attribute list; }
usable() { "$temporal" workflow count --query "$1 IS NULL" >/dev/null; }

command -v "$temporal" >/dev/null || {
    echo "setup.sh: there is no temporal CLI: put it on PATH, or set TEMPORAL_CLI" >&2
    exit 1
}
patiently "$temporal" operator cluster health

if "$temporal" operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
    echo "namespace $TEMPORAL_NAMESPACE is there"
else
    "$temporal" operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$retention"
fi

patiently attributes >/dev/null
present=$(attributes)

wanted | while read -r name type; do
    found=$(echo "$present" | awk -v name="$name" '$1 == name { print $2 }')
    case $found in
    "$type") echo "search attribute $name is there" ;;
    "")
        "$temporal" operator search-attribute create --name "$name" --type "$type" </dev/null >/dev/null
        echo "search attribute $name ($type) added"
        ;;
    *)
        echo "setup.sh: search attribute $name is a $found here and must be a $type:" \
            "rename the other one, or use another namespace" >&2
        exit 1
        ;;
    esac
done

# The servers reject orders with an attribute until they have loaded it.
wanted | while read -r name _; do
    patiently usable "$name" </dev/null
done
