"""checkov finds nothing in any preset that has no reason beside it."""

import re
from pathlib import Path

import pytest

from scripts import policy_scan
from tests.unit.chart.golden import FOLDER
from tests.unit.chart.helm import ROOT, Document

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not policy_scan.FETCHED.exists(), reason="checkov: scripts/chart_tools.sh fetches it"),
]


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return [document for path in sorted(FOLDER.glob("*.yaml")) for document in policy_scan.of_preset(path)]


@pytest.fixture(scope="module")
def found(documents: list[Document]) -> list[policy_scan.Finding]:
    return policy_scan.findings(documents)


def test_nothing_is_found_without_a_reason(found: list[policy_scan.Finding]) -> None:
    assert policy_scan.unexcused(found) == []


def test_every_exception_is_needed_and_is_in_the_documentation(found: list[policy_scan.Finding]) -> None:
    assert {check for check, _, _ in found} == set(policy_scan.EXCEPTIONS)
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    for check, (_, reason) in policy_scan.EXCEPTIONS.items():
        assert re.search(rf"\| `{check}` \| {re.escape(reason)} \|", text), check


def test_an_open_pod_is_found(documents: list[Document], tmp_path: Path) -> None:
    pod = next(document for document in documents if document["kind"] == "Pod")
    (container, *_) = pod["spec"]["containers"]
    open_one = {**pod, "spec": {**pod["spec"], "containers": [{**container, "securityContext": {"privileged": True}}]}}
    names = {check for check, _, _ in policy_scan.unexcused(policy_scan.findings([open_one]))}
    assert {"CKV_K8S_16", "CKV_K8S_20", "CKV_K8S_22"} <= names
