"""An API server takes every object, of each version of Kubernetes that the chart is for."""

import copy
import json

import pytest

from tests.unit.chart.everything import EVERYTHING, INCREMENTAL
from tests.unit.chart.golden import PRESETS
from tests.unit.chart.helm import Document, groups, rendered
from tests.unit.chart.kinds import (
    OF_OPERATORS,
    VERSIONS,
    compiler,
    is_kubernetes_own,
    kubernetes_validate,
    problems_of_operators,
)

pytestmark = pytest.mark.slow


def all_objects() -> list[Document]:
    """Of every preset and with everything on; pods as such too."""
    releases = [
        rendered(),
        rendered(EVERYTHING),
        rendered(INCREMENTAL),
        *(rendered(presets=(preset,)) for preset in PRESETS),
    ]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": group["template"]["spec"]}
        for release in releases
        for name, group in groups(release).items()
    ]
    return [*(o for release in releases for o in release), *pods]


@pytest.fixture(scope="module")
def own_kinds() -> list[Document]:
    """Each once: presets have many in common."""
    own = {json.dumps(o, sort_keys=True): o for o in all_objects() if is_kubernetes_own(o)}
    return list(own.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_its_own_kinds(version: str, own_kinds: list[Document]) -> None:
    validate = kubernetes_validate().validate
    for document in own_kinds:
        validate(document, version, strict=True)
    assert {"Pod", "Job", "Ingress", "NetworkPolicy", "PodDisruptionBudget"} <= {o["kind"] for o in own_kinds}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_it_does_not_have_is_seen(version: str, own_kinds: list[Document]) -> None:
    kubernetes = kubernetes_validate()
    pod = copy.deepcopy(own_kinds[-1])
    pod["spec"]["containers"][0]["imagePullPolcy"] = "Always"
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(pod, version, strict=True)


def test_gateway_api_and_the_prometheus_operator_take_theirs() -> None:
    compiler()
    documents = [o for o in rendered(EVERYTHING) if o["kind"] in OF_OPERATORS]
    assert {o["kind"] for o in documents} == set(OF_OPERATORS)
    assert problems_of_operators(documents) == ""


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("HTTPRoute", {"rulez": []}, "'rulez' does not exist"),
        ("PodMonitor", {"selector": {}, "podMetricsEndpoints": [{"intervall": "1s"}]}, "'intervall' does not exist"),
        ("HTTPRoute", {"hostnames": ["LLM.example.com"]}, "hostnames/0 must match pattern"),
        ("HTTPRoute", {"rules": [{"timeouts": {"request": "soon"}}]}, "timeouts/request must match pattern"),
        ("PodMonitor", {"selector": {}, "podMetricsEndpoints": [{"interval": "often"}]}, "interval must match pattern"),
        ("PrometheusRule", {"groups": [{"name": "a", "interval": "often"}]}, "interval must match pattern"),
        ("PrometheusRule", {"groups": [{"name": "a", "rules": [{"alert": "A"}]}]}, "'expr' is missing"),
    ],
)
def test_a_wrong_one_is_seen(kind: str, spec: Document, words: str) -> None:
    compiler()
    (right,) = [o for o in rendered(EVERYTHING) if o["kind"] == kind]
    assert words in problems_of_operators([{**right, "spec": spec}]).replace('"', "")
