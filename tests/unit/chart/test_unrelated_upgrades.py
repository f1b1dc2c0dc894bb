"""What makes KubeRay build a second cluster is what pods are made of, and nothing else."""

import copy
import re
import shutil
from pathlib import Path

import pytest

from tests.unit.chart.helm import CHART, Document, binaries, one, rendered

SECOND: Document = {"name": "b", "engine": "simulated", "profile": "instant"}
UNRELATED: dict[str, Document] = {
    "models": {"models": [SECOND, {"name": "m", "source": "hf:o/m@main", "replicas": {"max": 3}}]},
    "no models": {"models": []},
    "gateway settings": {"gateway": {"settings": {"queue_max_wait_s": 30}}},
    "tracing": {"tracing": {"endpoint": "http://c:4318"}},
    "pods at least and at most": {
        "gateway": {"replicas": 3, "maxReplicas": 6},
        "engineGroups": {"cpu": {"minReplicas": 0, "maxReplicas": 9}},
    },
    "service": {"gateway": {"service": {"type": "LoadBalancer", "annotations": {"a": "b"}, "port": 443}}},
    "budget": {"gateway": {"replicas": 2, "podDisruptionBudget": {"enabled": False}}},
    "ingress": {"ingress": {"enabled": True, "hosts": ["a.example"]}},
    "route": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}},
    "monitoring": {"monitoring": {k: {"enabled": True} for k in ("podMonitor", "prometheusRule", "dashboards")}},
    "policies": {"networkPolicy": {"allowInternet": False, "monitoringFrom": [{"podSelector": {}}]}},
    "no policies": {"networkPolicy": {"enabled": False}},
    "labels": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    "how clusters are replaced": {"upgrade": {"type": "None"}},
    "size of claims": {"state": {"persistence": {"size": "9Gi"}}},
    "extra objects": {"extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]},
}
OF_NOTHING: dict[str, Document] = {
    "GPU profiles that nobody has": {"gpuProfiles": {"x": {"resourceName": "a.b/gpu"}}},
    "values for all charts": {"global": {"a": "b"}},
}
RELATED: dict[str, Document] = {
    "image": {"image": {"tag": "2"}},
    "environment": {"env": [{"name": "A", "value": "b"}]},
    "resources": {"head": {"resources": {"limits": {"memory": "9Gi"}}}},
    "another group": {"engineGroups": {"a": {}}},
    "a Secret of another name": {"auth": {"existingSecret": "mine"}},
    "the time that pods drain": {"drain": {"seconds": 400}},
}


def compared_by_kuberay(objects: list[Document]) -> Document:
    """It hashes all of the cluster's but how many pods a group may have."""
    cluster: Document = copy.deepcopy(one(objects, "RayService")["spec"]["rayClusterConfig"])
    for group in cluster["workerGroupSpecs"]:
        for bound in ("replicas", "minReplicas", "maxReplicas"):
            group.pop(bound, None)
    return cluster


def but_secrets(objects: list[Document]) -> list[Document]:
    """Those are random where there is no cluster that has them already."""
    return [o for o in objects if o["kind"] != "Secret"]


@pytest.fixture(scope="module")
def release() -> list[Document]:
    return rendered()


@pytest.fixture(scope="module")
def cluster(release: list[Document]) -> Document:
    return compared_by_kuberay(release)


@pytest.mark.parametrize("change", UNRELATED)
def test_another_value_builds_none(change: str, release: list[Document], cluster: Document) -> None:
    objects = rendered(UNRELATED[change])
    assert but_secrets(objects) != but_secrets(release)
    assert compared_by_kuberay(objects) == cluster


@pytest.mark.parametrize("change", OF_NOTHING)
def test_a_value_of_nothing_changes_nothing(change: str, release: list[Document]) -> None:
    assert but_secrets(rendered(OF_NOTHING[change])) == but_secrets(release)


@pytest.mark.parametrize("change", RELATED)
def test_what_pods_are_made_of_builds_one(change: str, cluster: Document) -> None:
    assert compared_by_kuberay(rendered(RELATED[change])) != cluster


@pytest.mark.parametrize("binary", binaries(), ids=lambda path: path.name)
@pytest.mark.parametrize(
    "how", [(), ("--is-upgrade",), ("--kube-version", "1.31.0"), ("--namespace", "other")], ids=str
)
def test_neither_does_another_helm_nor_another_day_of_the_cluster(
    binary: Path, how: tuple[str, ...], cluster: Document
) -> None:
    assert compared_by_kuberay(rendered({}, *how, binary=binary)) == cluster


def test_nor_a_chart_of_the_same_image_with_another_version(tmp_path: Path, cluster: Document) -> None:
    newer = shutil.copytree(CHART, tmp_path / "baryon")
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub(r"^version: .*$", "version: 9.9.9", text, flags=re.MULTILINE))
    objects = rendered(chart=newer)
    assert one(objects, "RayService")["metadata"]["labels"]["helm.sh/chart"] == "baryon-9.9.9"
    assert compared_by_kuberay(objects) == cluster


def test_a_group_that_sorts_last_is_added_at_the_end_as_kuberay_does_in_place() -> None:
    before, after = (
        [g["groupName"] for g in compared_by_kuberay(rendered(values))["workerGroupSpecs"]]
        for values in ({}, {"engineGroups": {"zoo": {}}})
    )
    assert after == [*before, "zoo"]


def test_no_template_asks_for_the_time_or_for_chance_but_the_secrets() -> None:
    found = {
        path.name
        for path in (CHART / "templates").iterdir()
        if path.name != "NOTES.txt"
        if re.search(
            r"\b(now|date|rand\w*|uuidv4|gen\w+|shuffle|htpasswd|derivePassword|lookup|Revision)\b", path.read_text()
        )
    }
    assert found == {"secret.yaml"}
