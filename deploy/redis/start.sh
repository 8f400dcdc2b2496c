#!/bin/sh
# Write the ACL file from the environment, then become redis-server. An ACL file cannot read variables itself.
set -eu
here=$(dirname "$0")
acl=/tmp/edgefleet-users.acl
sh "$here/acl.sh" >"$acl"
set -- redis-server "$here/redis.conf" --dir /data --aclfile "$acl"
# The official image's own entry point hands /data to the redis user and drops root; Debian's package needs neither.
if command -v docker-entrypoint.sh >/dev/null 2>&1; then exec docker-entrypoint.sh "$@"; fi
exec "$@"
