#!/usr/bin/env bash
# Sets up what is missing and serves. Arguments go to `baryon up`: scripts/serve.sh my.yaml
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
exec .venv/bin/baryon up "$@"
