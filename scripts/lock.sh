#!/usr/bin/env bash
# Resolve pyproject.toml into two locks with hashes and no address in them, one file each for Python 3.11 to 3.13.
# What is locked stays locked unless pyproject.toml asks for more; `scripts/lock.sh --upgrade` takes the newest.
# The dev set goes first: ccxt pins some packages exactly, and the run set has to agree with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
more=("$@")
compile() {  # the odd form of more[@]: an empty array is unset to bash 3
  "${VENV:-.venv}/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links ${more[@]+"${more[@]}"} "$@" pyproject.toml >/dev/null
}
compile --extra dev -o requirements-dev.lock
compile --constraint requirements-dev.lock -o requirements.lock
if grep -nE '://' requirements.lock requirements-dev.lock; then
  echo "lock: an address got into a lock file" >&2
  exit 1
fi
echo "locked $(grep -c '^[a-z]' requirements.lock) packages to run, $(grep -c '^[a-z]' requirements-dev.lock) to develop"
