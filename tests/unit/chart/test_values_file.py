"""The values file says what there is, the chart uses all it says, and its copies are up to date."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from scripts.chart_files import FREE, chart_files
from tests.unit.chart.helm import CHART, Document, HelmRefused, binaries, rendered
from tests.unit.chart.test_serve_document import merged

TEXT = (CHART / "values.yaml").read_text()
LINES = TEXT.splitlines()
WHOLE = FREE | {"models", "engineGroups"}
LIKE_NVIDIA = {"nvidia-h100", "nvidia-h200", "nvidia-a100", "nvidia-l4"}
GPU_GROUP: Document = {"g": {"gpus": 1, "minReplicas": 1}}
EVERYTHING_IN_USE: Document = {
    "engineGroups": GPU_GROUP,
    "groupDefaults": {"maxReplicas": 3},
    "gateway": {"replicas": 2, "service": {"type": "LoadBalancer"}},
    "ingress": {"enabled": True, "hosts": ["a.example"]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]},
    "monitoring": {kind: {"enabled": True} for kind in ("podMonitor", "prometheusRule", "dashboards")},
    "huggingFace": {"existingSecret": "hf"},
    "modelCache": {"claim": {"create": True}, "warmUp": {"enabled": True}},
    "gcsFaultTolerance": {"enabled": True, "redisAddress": "redis:6379", "existingSecret": "redis"},
    "upgrade": {"type": "NewClusterWithIncrementalUpgrade", "gatewayClassName": "istio"},
}
OTHER_VALUES: dict[str, Any] = {
    "image.digest": "sha256:" + "a" * 64,
    "image.pullPolicy": "Always",
    "monitoring.podMonitor.interval": "30s",
    "rayVersion": "2.61.0",
    "models": [],
    "tracing": {"endpoint": "http://c:4318"},
    "engineGroups": {"h": {"gpus": 1}},
    "groupDefaults.gpuProfile": "nvidia-l4",
    "groupDefaults.minReplicas": 0,
    "gateway.service.type": "NodePort",
    "gateway.podDisruptionBudget.enabled": False,
    "gateway.podDisruptionBudget.minAvailable": 0,
    "groupDefaults.livenessProbe": {"periodSeconds": 1},
    "groupDefaults.readinessProbe": {"periodSeconds": 1},
    "ingress.tls": [{"secretName": "x"}],
    "networkPolicy.gatewayFrom": [{"podSelector": {}}],
    "networkPolicy.monitoringFrom": [{"podSelector": {}}],
    "networkPolicy.extraEgress": [{"to": []}],
    "networkPolicy.blockedCidrs": ["10.0.0.0/8"],
    "networkPolicy.apiServerCidr": "10.0.0.0/8",
    "podSecurityContext": {"runAsUser": 20000},
    "securityContext": {"privileged": False},
    "gpuProfiles.nvidia.resourceName": "amd.com/gpu",
    "groupDefaults.shmSize": "2Gi",
    "state.persistence.size": "6Gi",
    "modelCache.claim.size": "6Gi",
    "modelCache.claim.accessModes": ["ReadWriteOnce"],
    "modelCache.sizeLimit": "6Gi",
    "gateway.service.loadBalancerSourceRanges": ["10.0.0.0/8"],
    "gateway.settings": {"max_n": 3},
    "autoscaler.upscalingMode": "Aggressive",
    "upgrade.type": "None",
    "upgrade.maxSurgePercent": 90,
    "networkPolicy.apiServerPorts": [1],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}}],
}
ON_OTHER_TERMS: dict[str, Document] = {
    "gateway.tls.existingSecret": {"upgrade": {"type": "NewCluster"}},
    "modelCache.existingClaim": {"modelCache": {"claim": {"create": False}, "warmUp": {"enabled": False}}},
    "modelCache.claim.create": {"modelCache": {"warmUp": {"enabled": False}}},
    "modelCache.sizeLimit": {"modelCache": {"claim": {"create": False}, "warmUp": {"enabled": False}}},
    "groupDefaults.gpus": {"engineGroups": {"g": {"gpus": 1}, "cpu": {}}},
}


def mapping_keys(node: yaml.MappingNode, path: str = "") -> Iterator[tuple[str, int, yaml.Node]]:
    """Each key's path, line and value; not within what Kubernetes or another file describes."""
    for key, value in node.value:
        here = f"{path}.{key.value}".lstrip(".")
        yield here, key.start_mark.line, value
        if isinstance(value, yaml.MappingNode) and key.value not in WHOLE | LIKE_NVIDIA:
            yield from mapping_keys(value, here)


def undocumented(text: str) -> list[str]:
    lines = text.splitlines()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return [
        path
        for path, line, _ in mapping_keys(root)
        if not lines[line - 1].lstrip().startswith("#") and path not in {f"gpuProfiles.{n}" for n in LIKE_NVIDIA}
        if path != "gpuProfiles.nvidia"
    ]


def test_what_the_chart_has_from_elsewhere_is_up_to_date() -> None:
    stale = [path.name for path, text in chart_files().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run python -m scripts.chart_files"


def test_every_value_is_described_above_it() -> None:
    assert undocumented(TEXT) == []


def test_a_value_without_a_word_is_found() -> None:
    assert undocumented(TEXT + "\nmore: 1\n") == ["more"]
    without = TEXT.replace("  # Of the pods.\n  port: 8000", "  port: 8000")
    assert undocumented(without) == ["gateway.port"]


def leaves(values: Document, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        here = f"{path}.{name}".lstrip(".")
        if name in LIKE_NVIDIA:
            continue
        if isinstance(value, dict) and value and name not in WHOLE:
            yield from leaves(value, here)
        else:
            yield here, value


def another(path: str, value: Any) -> Any:
    if path in OTHER_VALUES:
        return OTHER_VALUES[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 10
    if path.endswith("tolerations"):
        return [{"key": "x"}]
    if path.endswith("topologySpreadConstraints"):
        return [{"maxSkew": 2}]
    if isinstance(value, list):
        return ["b.example"] if path.endswith(("osts", "ostnames")) else [{"name": "x"}]
    if isinstance(value, dict) or value is None:
        return {**(value or {}), "limits": {"cpu": "3", "memory": "9Gi"}} if path.endswith("resources") else {"x": "z"}
    return "x"


def nested(path: str, value: Any) -> Document:
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


@pytest.mark.slow
@pytest.mark.skipif(not binaries(), reason="helm is not installed: scripts/get_helm.sh fetches it")
def test_every_value_changes_what_is_made() -> None:
    found = {path: changes_something(path, value) for path, value in leaves(yaml.safe_load(TEXT))}
    assert {path: said for path, said in found.items() if said is not True} == {}


def changes_something(path: str, value: Any) -> bool | str:
    """Where it was on already, the other way around. In words: why it was refused."""
    under = merged(EVERYTHING_IN_USE, ON_OTHER_TERMS.get(path, {}))
    over = merged(under, nested(path, another(path, value)))
    if over == under:
        over = merged(under, nested(path, value))
    try:
        return without_secrets(under) != without_secrets(over)
    except HelmRefused as refused:
        return str(refused)


def without_secrets(values: Document) -> list[Document]:
    """Those that the chart makes are random where there is no cluster: their names alone."""
    return [o["metadata"] if o["kind"] == "Secret" else o for o in rendered(values)]
