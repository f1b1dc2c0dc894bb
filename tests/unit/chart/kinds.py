"""Whether an API server takes an object: Kubernetes' own kinds by version, two operators' by what their CRDs say.

Packages of the operators' have types, by which a key that is not there is seen, and the CRDs' patterns and choices.

Checked with what scripts/chart_tools.sh fetches into .tools; a test without it is skipped.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.chart.helm import ROOT

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
TYPES = ROOT / ".tools" / "kubernetes-models"
SCHEMAS = ROOT / ".tools" / "kubernetes-validate"
OF_OPERATORS = {
    "PodMonitor": "prometheus-operator/monitoring.coreos.com/v1",
    "PrometheusRule": "prometheus-operator/monitoring.coreos.com/v1",
    "HTTPRoute": "gateway-api/gateway.networking.k8s.io/v1",
}
KUBERAYS = {"RayService"}

Document = dict[str, Any]


def kubernetes_validate() -> ModuleType:
    if SCHEMAS.exists() and str(SCHEMAS) not in sys.path:
        sys.path.append(str(SCHEMAS))
    return pytest.importorskip("kubernetes_validate", reason="scripts/chart_tools.sh fetches it")  # type: ignore[no-any-return]


def is_kubernetes_own(document: Document) -> bool:
    return document["kind"] not in {*OF_OPERATORS, *KUBERAYS}


def compiler() -> Path:
    path = TYPES / "node_modules" / ".bin" / "tsc"
    if not path.exists():
        pytest.skip("types of operators' kinds are not installed: scripts/chart_tools.sh fetches them")
    return path


def problems_of_operators(documents: list[Document]) -> str:
    """What an API server would say of them, and of keys that it would drop."""
    return wrong_types(documents) + wrong_values(documents)


def wrong_types(documents: list[Document]) -> str:
    """What TypeScript's compiler says of them as literals of their types: unknown keys too."""
    imports = [f'import {{ I{kind} }} from "@kubernetes-models/{path}/{kind}";' for kind, path in OF_OPERATORS.items()]
    literals = [f"const d{n}: I{document['kind']} = {json.dumps(document)};" for n, document in enumerate(documents)]
    with _script("documents.mts", [*imports, *literals]) as path:
        return _said([str(compiler()), "--noEmit", "--module", "nodenext", "--skipLibCheck", "--strict", str(path)])


def wrong_values(documents: list[Document]) -> str:
    """What their CRDs' schemas say: patterns, choices, lengths, what is missing."""
    imports = [f'import {{ {kind} }} from "@kubernetes-models/{path}/{kind}";' for kind, path in OF_OPERATORS.items()]
    checks = [
        f"try {{ new {d['kind']}({json.dumps(d)}).validate(); }} catch (wrong) {{ console.log(wrong.message); }}"
        for d in documents
    ]
    with _script("documents.mjs", [*imports, *checks]) as path:
        return _said(["node", str(path)])


@contextmanager
def _script(name: str, lines: list[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=TYPES) as folder:
        path = Path(folder) / name
        path.write_text("\n".join(lines))
        yield path


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
