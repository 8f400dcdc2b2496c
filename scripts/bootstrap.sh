#!/usr/bin/env bash
# Make .venv and install the locked packages of one set: `scripts/bootstrap.sh run` or `scripts/bootstrap.sh dev`.
# Takes the newest of python3.13, 3.12, 3.11 that is found, or the one named by $PYTHON. Does nothing when the
# lock has not changed since the last time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

set_name=${1:?usage: scripts/bootstrap.sh run|dev}
venv=${VENV:-.venv}
case "$set_name" in
  run) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  *) echo "bootstrap: unknown set '$set_name': run or dev" >&2; exit 2 ;;
esac

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    supported "$PYTHON" && { echo "$PYTHON"; return; }
    echo "bootstrap: PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13" >&2
    return 1
  fi
  for candidate in python3.13 python3.12 python3.11 python3 python; do
    supported "$candidate" && { echo "$candidate"; return; }
  done
  echo "bootstrap: no Python 3.11, 3.12 or 3.13 found on PATH: install one, or name it: make PYTHON=/path/to/python3.12" >&2
  return 1
}

# The dev set contains the run set, so a venv that holds dev also serves run.
digest() { cat pyproject.toml "$1" | sha256sum | cut -d' ' -f1; }
stamped() { [[ -f $venv/.edgefleet-$1 && $(<"$venv/.edgefleet-$1") == "$(digest "$2")" ]]; }
stamped dev requirements-dev.lock && exit 0
[[ $set_name == run ]] && stamped run requirements.lock && exit 0

if [[ ! -x $venv/bin/python ]]; then
  python=$(find_python) || exit 2
  echo "==> making $venv with $("$python" --version) ($python)" >&2
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "bootstrap: this Python has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv) and run make again" >&2
    exit 2
  fi
  "$python" -m venv "$venv"
fi

count=$(grep -c '^[a-z]' "$lock")
echo "==> installing $count locked packages from $lock (a minute or two the first time)" >&2
# The lock names every package there is to install. Left to look for dependencies, pip 23 takes the newest release of one that
# is asked for with an extra (`coverage[toml]`), finds no hash for it and gives up, from the day that release appears.
"$venv/bin/python" -m pip install --disable-pip-version-check --no-warn-script-location --progress-bar on \
  --require-hashes --no-deps -r "$lock" >&2
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --editable . >&2
"$venv/bin/python" -m pip check --disable-pip-version-check >&2
digest "$lock" >"$venv/.edgefleet-$set_name"
echo "==> ready: $venv/bin/edgefleet" >&2
