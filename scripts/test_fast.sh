#!/usr/bin/env bash
# Tests without an engine or a cluster, and the checks of style and types, in less than a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
scripts/lint.sh
exec .venv/bin/python -m pytest -q -n 3 -m "not verify and not engine and not cluster and not slow" "$@"
