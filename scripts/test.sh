#!/usr/bin/env bash
# All tests, with real engines; sets up what is missing. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
exec .venv/bin/python -m pytest -m "not verify" --durations=10 "$@"
