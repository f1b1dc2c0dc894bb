"""checkov over what each preset renders; a finding that EXCEPTIONS gives no reason for is an error.

It knows pods but no RayService, so pod templates are given to it as pods.
Without its maker's service checkov has no severities: every finding counts.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "unit" / "chart" / "golden"
FETCHED = ROOT / ".tools" / "checkov"
EVERY_POD = r"Pod\..*"
EXCEPTIONS: dict[str, tuple[str, str]] = {
    "CKV_K8S_8": (
        EVERY_POD,
        "KubeRay puts its liveness probes into every pod; a model may load for long",
    ),
    "CKV_K8S_9": (r"Pod\..*\.head", "KubeRay puts its readiness probe into the head's pod"),
    "CKV_K8S_15": (EVERY_POD, "a tag is a release and does not change; image.digest pins it"),
    "CKV_K8S_38": (r"Pod\..*\.head", "the autoscaler beside the head asks the API server for pods"),
    "CKV_K8S_43": (EVERY_POD, "the digest is of the image that you build: image.digest"),
}

Document = dict[str, Any]
Finding = tuple[str, str, str]


def main() -> None:
    if not FETCHED.exists():
        sys.exit("error: checkov is not installed: scripts/chart_tools.sh fetches it")
    found = findings([document for path in sorted(GOLDEN.glob("*.yaml")) for document in of_preset(path)])
    left = unexcused(found)
    print(f"{len(found)} findings, {len(found) - len(left)} of them excepted")
    for check, name, resource in left:
        print(f"{check} {resource}: {name}")
    sys.exit(1 if left else 0)


def unexcused(found: Iterable[Finding]) -> list[Finding]:
    return sorted(one for one in found if one[0] not in EXCEPTIONS or not re.fullmatch(EXCEPTIONS[one[0]][0], one[2]))


def of_preset(golden: Path) -> list[Document]:
    return documents_for_checkov(yaml.safe_load_all(golden.read_text()), golden.stem)


def documents_for_checkov(objects: Iterable[Document], namespace: str) -> list[Document]:
    """A namespace for each preset tells findings apart."""
    documents = []
    for document in objects:
        metadata = {**document["metadata"], "namespace": namespace}
        documents.append({**document, "metadata": metadata})
        if document["kind"] == "RayService":
            documents += _pods(document["spec"]["rayClusterConfig"], namespace)
    return documents


def _pods(cluster: Document, namespace: str) -> Iterable[Document]:
    """The head's has the autoscaler too, as KubeRay puts it there."""
    head = cluster["headGroupSpec"]["template"]
    beside = {
        "name": "autoscaler",
        "image": head["spec"]["containers"][0]["image"],
        **{k: v for k, v in cluster["autoscalerOptions"].items() if k not in ("version", "upscalingMode")},
    }
    whole = {**head["spec"], "containers": [*head["spec"]["containers"], beside]}
    templates = {"head": {**head, "spec": whole}}
    templates |= {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    for name, template in templates.items():
        metadata = {**template["metadata"], "name": name, "namespace": namespace}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def findings(documents: list[Document]) -> list[Finding]:
    """Each failed check: its id, its name, and of what."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rendered.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        command = [sys.executable, "-m", "checkov.main", "--file", str(path), "--framework", "kubernetes"]
        command += ["--output", "json", "--soft-fail", "--skip-download", "--quiet"]
        environment = {**os.environ, "PYTHONPATH": str(FETCHED)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    failed = report["results"]["failed_checks"]
    if not failed and not report["summary"]["passed"]:
        raise RuntimeError(f"checkov looked at nothing: {report['summary']}")
    return [(one["check_id"], one["check_name"], one["resource"]) for one in failed]


if __name__ == "__main__":
    main()
