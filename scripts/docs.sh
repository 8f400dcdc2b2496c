#!/usr/bin/env bash
# Write what is made from code: the dashboards, and the AsyncAPI page of every stream message.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${VENV:-.venv}/bin/python
"$python" grafana/generate.py
"$python" -m edgefleet.messages.asyncapi >docs/reference/asyncapi.yaml
echo "written: grafana/dashboards/*.json docs/reference/asyncapi.yaml"
