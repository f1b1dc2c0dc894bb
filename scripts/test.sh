#!/usr/bin/env bash
# Style and types, then all tests, with real engines; sets up what is missing. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
scripts/chart_tools.sh || echo "warning: without them some tests of the chart are skipped" >&2
scripts/lint.sh

tests() { .venv/bin/python -m pytest "$@" || [ $? -eq 5 ]; }  # 5: the arguments name none of this kind
tests -q -n 3 -m "not verify and not engine and not cluster" --durations=10 "$@"
tests -m "not verify and (engine or cluster)" --durations=30 "$@"
