#!/usr/bin/env bash
# Write what is made from code: the dashboards and the generated pages of the reference.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${VENV:-.venv}/bin/python
"$python" grafana/generate.py
"$python" scripts/reference.py
