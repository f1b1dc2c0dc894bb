#!/usr/bin/env bash
# The long ones: soak, chaos, fuzz. They write JSON with the commit id to docs/benchmarks/.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
exec .venv/bin/python -m pytest -m verify --durations=10 "$@"
