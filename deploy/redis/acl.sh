#!/bin/sh
# Print the fleet's Redis users as an ACL file. Passwords come from the environment and leave as SHA-256.
#   EDGEFLEET_REDIS_PASSWORD           every service's password, and that of the user `fleet` (supervisor and commands)
#   EDGEFLEET_REDIS_PASSWORD_<SERVICE> another one for one service, for example EDGEFLEET_REDIS_PASSWORD_EXECUTOR
#   EDGEFLEET_REDIS_DEFAULT_USER       `open` (may read, publish param.reload, set feature:* and mode) or `closed`
set -eu

services="ingestion alpha router risk executor ledger monitor params venue features"

hash_of() { printf '%s' "$1" | sha256sum | cut -d' ' -f1; }
fail() { echo "redis acl: $1" >&2; exit 2; }

[ -n "${EDGEFLEET_REDIS_PASSWORD:-}" ] || fail "EDGEFLEET_REDIS_PASSWORD is empty: set it in .env"

# What a service may do: all data, all channels, its Functions; nothing that empties, stops or reconfigures the server.
service_rules="~* &* +@all -@admin -@dangerous +info +role +config|get +client|list -function|flush -function|delete -function|restore"

for service in $services; do
  name=$(printf '%s' "$service" | tr '[:lower:]' '[:upper:]')
  eval "password=\${EDGEFLEET_REDIS_PASSWORD_$name:-$EDGEFLEET_REDIS_PASSWORD}"
  echo "user $service on #$(hash_of "$password") $service_rules"
done
echo "user fleet on #$(hash_of "$EDGEFLEET_REDIS_PASSWORD") $service_rules"

case "${EDGEFLEET_REDIS_DEFAULT_USER:-open}" in
  # Each right to write stands in a selector of its own, with its own keys and channels: a right in the root would combine.
  open) echo "user default on nopass %R~* &* +@read +@connection +@pubsub -publish -spublish -@admin -@dangerous +info (+publish &param.reload) (+set ~feature:* ~mode)" ;;
  closed) echo "user default off resetpass -@all" ;;
  *) fail "EDGEFLEET_REDIS_DEFAULT_USER is '${EDGEFLEET_REDIS_DEFAULT_USER}': open or closed" ;;
esac
