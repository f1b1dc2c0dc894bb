#!/usr/bin/env bash
# Writes requirements/cpu.txt and requirements/dev.txt from the packages now in .venv, after they were changed by hand.
set -euo pipefail
cd "$(dirname "$0")/.."
dev='^(pytest|pytest-asyncio|pytest-xdist|execnet|hypothesis|mypy|mypy_extensions|ruff|promql-parser|grafana_foundation_sdk|types-.*|matplotlib|contourpy|cycler|fonttools|kiwisolver|pyparsing|iniconfig|pluggy|sortedcontainers|librt|ast_serialize|pathspec)=='
frozen=$(.venv/bin/python -m pip freeze --all --exclude-editable | grep -iv '^-e\|^baryon\|^pip==\|^wheel==' | sed -E 's/^([A-Za-z0-9_.-]+) @ .*[/]\1-([^-]+)-.*/\1==\2/')
header() { sed -n '/^#/p' "$1"; }
cpu=$(header requirements/cpu.txt; grep -Eiv "$dev" <<<"$frozen")
tools=$(header requirements/dev.txt; grep -Ei "$dev" <<<"$frozen")
printf '%s\n' "$cpu" > requirements/cpu.txt
printf '%s\n' "$tools" > requirements/dev.txt
