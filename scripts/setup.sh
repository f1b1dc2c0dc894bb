#!/usr/bin/env bash
# Makes .venv with pinned packages, for a GPU if this machine has one, else for its CPU. A second run changes nothing.
#   scripts/setup.sh [--dev]     --dev adds what tests and checks need
# PYTHON names another interpreter; PYTORCH_CPU_INDEX an index that has PyTorch's CPU builds.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%6d s  \033[1m%s\033[0m\n' "$SECONDS" "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

uv='uv==0.13.9'
device=cpu
for node in /dev/nvidia[0-9]*; do [ -e "$node" ] && device=gpu; done
locks=("requirements/$device.txt")
[ "${1:-}" = --dev ] && locks+=(requirements/dev.txt)

for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "${python:-}" ] || die "Python 3.11 or newer with its venv module is needed (Debian: apt-get install python3 python3-venv)"

mark=.venv/.baryon-installed
wanted=$(cat "${locks[@]}" pyproject.toml | sha256sum | cut -d' ' -f1)
have() { [ -f "$mark" ] && grep -q "^$wanted$" "$mark"; }
have && exit 0

free_gb=$(df -Pk . | awk 'NR==2 {print int($4 / 1048576)}')
[ "$free_gb" -ge 6 ] || die "6 GB of free disk are needed here, $free_gb GB are free"

say "Setting up .venv for this machine's $device: about 4 GB and 3 minutes, once."
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }

if [ "$device" = cpu ]; then
  torch=$(grep '^torch==' requirements/cpu.txt)
  say "1/3 $torch"
  # The CPU build may not be on pip's index; uv knows where PyTorch keeps it. An extra index for everything would be slow.
  if ! pip install --no-deps "$torch" 2>/dev/null; then
    if [ -n "${PYTORCH_CPU_INDEX:-}" ]; then
      pip install --no-deps --index-url "$PYTORCH_CPU_INDEX" "$torch"
    else
      pip install --no-deps "$uv" && .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --torch-backend cpu "$torch"
    fi || die "PyTorch's CPU build could not be installed; set PYTORCH_CPU_INDEX to an index that has $torch"
  fi
fi
for lock in "${locks[@]}"; do
  say "2/3 $lock ($(grep -vc '^#' "$lock") packages)"
  pip install --no-deps -r "$lock"
done
say "3/3 baryon itself"
pip install --no-deps --no-build-isolation -e .
printf '%s\n' "$wanted" >> "$mark"
say "Done."
