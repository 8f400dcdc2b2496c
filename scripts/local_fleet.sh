#!/usr/bin/env bash
# Start or stop the fleet as local processes on Compose's Redis, Prometheus and Grafana.
#   local_fleet.sh start VENV STATE_DIR [ARGS for `edgefleet up`]
#   local_fleet.sh stop  VENV STATE_DIR
# Redis is REDIS_URL, else Compose's own on 127.0.0.1:6379 with the user `fleet` and EDGEFLEET_REDIS_PASSWORD.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

verb=${1:?start or stop}
venv=${2:?the virtual environment}
state=${3:?the state directory}
shift 3
targets=prometheus/targets/local.yml
services=(ingestion:9101 alpha:9102 router:9103 risk:9104 executor:9105 params:9106 ledger:9107 monitor:8001 venue:9180 features:9109)

alive() { [[ -f $state/$1.pid ]] && kill -0 "$(<"$state/$1.pid")" 2>/dev/null; }

# stop_process NAME SECONDS: SIGTERM, then wait; 1 when it still runs.
stop_process() {
  alive "$1" || { rm -f "$state/$1.pid"; return 0; }
  local pid
  pid=$(<"$state/$1.pid")
  kill -TERM "$pid"
  for _ in $(seq $(($2 * 5))); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$state/$1.pid"; return 0; }
    sleep 0.2
  done
  echo "$1 (pid $pid) still runs $2 s after SIGTERM" >&2
  return 1
}

# The file that Prometheus watches, and on Linux the relay by which its container reaches loopback.
let_prometheus_in() {
  local bridge service ports=()
  for service in "${services[@]}"; do
    printf -- '- targets: ["host.docker.internal:%s"]\n  labels: {service: %s}\n' "${service#*:}" "${service%:*}"
    ports+=("${service#*:}")
  done >"$targets"
  command -v ip >/dev/null 2>&1 || return 0
  ip link show docker0 >/dev/null 2>&1 || return 0
  bridge=$(ip -4 -o addr show docker0 | awk '{split($4, a, "/"); print a[1]; exit}')
  nohup "$venv/bin/python" scripts/scrape_relay.py "$bridge" "${ports[@]}" >>"$state/relay.log" 2>&1 &
  echo $! >"$state/relay.pid"
}

start() {
  if alive fleet; then
    echo "already running (pid $(<"$state/fleet.pid")): make status, make stop" >&2
    exit 1
  fi
  mkdir -p "$state"
  rm -f "$state/fleet.json"
  [[ ! -f .env ]] || { set -a; . ./.env; set +a; }
  # In the environment, not on the command line: it carries a password.
  export REDIS_URL=${REDIS_URL:-redis://fleet:${EDGEFLEET_REDIS_PASSWORD:-edgefleet-local}@127.0.0.1:6379/0}
  nohup "$venv/bin/edgefleet" up --mode demo --venue sim --data-dir "$state" --port 8001 "$@" >>"$state/up.log" 2>&1 &
  echo $! >"$state/fleet.pid"
  let_prometheus_in
  for _ in $(seq 120); do
    if ! alive fleet; then
      echo "the fleet stopped while starting; its last lines:" >&2
      tail -n 20 "$state/up.log" >&2
      stop
      exit 1
    fi
    # `up` writes fleet.json once the ports are its own: another fleet's answer is not taken for ours.
    if [[ -f $state/fleet.json ]] && "$venv/bin/python" -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:8001/health", timeout=2)' 2>/dev/null; then
      echo "running (pid $(<"$state/fleet.pid")): page http://127.0.0.1:8001, log $state/up.log, make stop"
      return
    fi
    sleep 0.5
  done
  echo "started, but the monitor does not answer on 127.0.0.1:8001 after a minute: see $state/up.log" >&2
  exit 1
}

stop() {
  rm -f "$targets"
  if ! alive fleet && ! alive relay; then echo "not running"; return; fi
  stop_process fleet 40
  stop_process relay 5
  echo "stopped"
}

case "$verb" in
  start) start "$@" ;;
  stop) stop ;;
  *) echo "local_fleet: unknown verb '$verb': start or stop" >&2; exit 2 ;;
esac
