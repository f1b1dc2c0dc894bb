#!/usr/bin/env bash
# Writes monitoring/dashboards/*.json from the panels beside them.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
exec .venv/bin/python -m monitoring.dashboards
