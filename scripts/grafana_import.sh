#!/usr/bin/env bash
# Import every dashboard of grafana/dashboards into a running Grafana. Running it twice changes nothing: a dashboard is
# found by its uid and written only where it differs. Needs curl.
#   GRAFANA_URL      http://127.0.0.1:3000
#   GRAFANA_TOKEN    a service account token, or
#   GRAFANA_USER / GRAFANA_PASSWORD   admin / the password of docker-compose.yml
#   PROMETHEUS_URL   http://prometheus:9090, as Grafana sees it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

url=${GRAFANA_URL:-http://127.0.0.1:3000}
url=${url%/}
datasource=edgefleet-prometheus
body=$(mktemp)
trap 'rm -f "$body"' EXIT

# Credentials go to curl by its configuration on stdin, so they never stand in the list of processes.
credentials() {
  if [[ -n ${GRAFANA_TOKEN:-} ]]; then
    printf 'header = "Authorization: Bearer %s"\n' "$GRAFANA_TOKEN"
  else
    printf 'user = "%s:%s"\n' "${GRAFANA_USER:-admin}" "${GRAFANA_PASSWORD:-${GRAFANA_ADMIN_PASSWORD:-edgefleet-local}}"
  fi
}

# call METHOD PATH [DATA]: prints the HTTP status, leaves the answer in $body.
call() {
  local data=()
  [[ $# -lt 3 ]] || data=(--data-binary "$3" --header 'Content-Type: application/json')
  credentials | curl --config - --silent --show-error --max-time 20 --output "$body" --write-out '%{http_code}' \
    --request "$1" ${data[@]+"${data[@]}"} "$url$2"
}

status=$(call GET /api/health) || { echo "grafana_import: no answer at $url" >&2; exit 3; }
[[ $status == 200 ]] || { echo "grafana_import: $url/api/health answered $status" >&2; exit 3; }

status=$(call GET "/api/datasources/uid/$datasource")
case "$status" in
  200) echo "have      datasource $datasource" ;;
  401 | 403) echo "grafana_import: $url refuses these credentials: set GRAFANA_TOKEN, or GRAFANA_USER and GRAFANA_PASSWORD" >&2; exit 2 ;;
  404)
    status=$(call POST /api/datasources "{\"name\":\"Prometheus\",\"uid\":\"$datasource\",\"type\":\"prometheus\",\"access\":\"proxy\",\"url\":\"${PROMETHEUS_URL:-http://prometheus:9090}\"}")
    [[ $status == 200 ]] || { echo "grafana_import: datasource: $status $(<"$body")" >&2; exit 1; }
    echo "imported  datasource $datasource"
    ;;
  *) echo "grafana_import: datasource: $status $(<"$body")" >&2; exit 1 ;;
esac

for file in grafana/dashboards/*.json; do
  uid=$(basename "$file" .json)
  # The digest of the file rides along as a tag: equal tag, nothing to write.
  mark="sha-$(sha256sum "$file" | cut -c1-12)"
  status=$(call GET "/api/dashboards/uid/$uid")
  if [[ $status == 200 ]] && grep -q "\"$mark\"" "$body"; then
    echo "unchanged $uid"
    continue
  fi
  if [[ $status == 200 ]] && grep -q '"provisioned":true' "$body"; then
    echo "unchanged $uid (provisioned from the files already)"
    continue
  fi
  dashboard=$(sed "0,/\"edgefleet\"/s//\"edgefleet\", \"$mark\"/" "$file")
  status=$(call POST /api/dashboards/db "{\"overwrite\":true,\"message\":\"scripts/grafana_import.sh\",\"dashboard\":$dashboard}")
  [[ $status == 200 ]] || { echo "grafana_import: $uid: $status $(<"$body")" >&2; exit 1; }
  echo "imported  $uid"
done
