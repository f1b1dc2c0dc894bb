"""What would fail later, or silently, is refused before anything is created, with words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.chart.everything import INCREMENTAL
from tests.unit.chart.helm import CHART, Document, HelmRefused, binaries, rendered

SIMULATED = {"name": "s", "engine": "simulated", "profile": "instant"}
KUEUE = {"kueue.x-k8s.io/queue-name": "q"}
ELASTIC = {"kueue.x-k8s.io/elastic-job": "true"}
REFUSED: list[tuple[Document, str]] = [
    ({"gateway": {"replicaz": 2}}, "no value gateway.replicaz. Is replicas meant?"),
    ({"model": []}, "no value model. Is models meant?"),
    ({"engineGroups": {"g": {"gpu": 1}}}, "no value engineGroups.g.gpu. Is gpus meant?"),
    ({"gpuProfiles": {"x": {"resource": "a"}}}, "Is resourceName meant?"),
    (
        {"models": [{"name": "a", "tensorParallelSize": 2}]},
        "models[0].tensorParallelSize. Is tensor_parallel_size meant?",
    ),
    ({"models": [{**SIMULATED, "slo": {"ttft": 2}}]}, "models[0].slo.ttft. Is ttft_ms meant?"),
    ({"gateway": {"settings": {"queue_max_wait": 2}}}, "Is queue_max_wait_s meant?"),
    ({"tracing": {"endpoint": "http://c", "samples": 1}}, "Is sample meant?"),
    ({"gateway": {"env": [{"nme": "A"}]}}, "no value gateway.env[0].nme. Is name meant?"),
    ({"head": {"tolerations": [{"kee": "A"}]}}, "no value head.tolerations[0].kee. Is key meant?"),
    ({"securityContext": {"readOnlyRootFileSystem": True}}, "Is readOnlyRootFilesystem meant?"),
    ({"podSecurityContext": {"runAsNonroot": True}}, "Is runAsNonRoot meant?"),
    ({"gateway": {"resources": {"limit": {}}}}, "no value gateway.resources.limit. Is limits meant?"),
    (
        {"groupDefaults": {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimname": "c"}}]}},
        "groupDefaults.volumes[0].persistentVolumeClaim.claimname. Is claimName meant?",
    ),
    ({"engineGroups": {"g": {"readinessProbe": {"httpGet": {"pth": "/"}}}}}, "httpGet.pth. Is path meant?"),
    ({"ingress": {"tls": [{"secretname": "a"}]}}, "ingress.tls[0].secretname. Is secretName meant?"),
    ({"httpRoute": {"parentRefs": [{"nme": "a"}]}}, "httpRoute.parentRefs[0].nme. Is name meant?"),
    (
        {"networkPolicy": {"monitoringFrom": [{"namespaceSelector": {"matchLabel": {}}}]}},
        "monitoringFrom[0].namespaceSelector.matchLabel. Is matchLabels meant?",
    ),
    ({"gateway": {"replicas": "two"}}, "replicas"),
    ({"gateway": {"port": 70000}}, "port"),
    ({"models": [{**SIMULATED, "replicas": {"min": -1}}]}, "min"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"fullnameOverride": "a" * 48}, "48 characters; KubeRay allows a RayService 47"),
    ({"fullnameOverride": "1a"}, "begins with a letter"),
    ({"engineGroups": {"gateway": {}}}, "the chart has a group of that name"),
    ({"engineGroups": {"A_b": {}}}, "a group's name"),
    ({"engineGroups": {"cpu": {"minReplicas": 3}}}, "minReplicas 3 is more than maxReplicas 1"),
    ({"engineGroups": {"cpu": {"resources": {"requests": {"cpu": "1"}}}}}, "resources.limits.cpu is missing"),
    ({"engineGroups": {"g": {"gpus": 1, "gpuProfile": "tpu"}}}, "none of gpuProfiles"),
    ({"rayVersion": "2.40.0"}, "Ray before 2.56.0"),
    ({"upgrade": {"type": "NewClusterWithIncrementalUpgrade"}}, "upgrade.gatewayClassName"),
    ({"upgrade": {"type": "Rolling"}}, "type"),
    ({"gcsFaultTolerance": {"enabled": True}}, "redisAddress is missing"),
    ({"env": [{"name": "RAY_AUTH_MODE", "value": "disabled"}]}, "RAY_AUTH_MODE is not set here"),
    ({"engineGroups": {"cpu": {"env": [{"name": "REDIS_PASSWORD", "value": "x"}]}}}, "REDIS_PASSWORD is not set here"),
    ({"annotations": {"ray.io/ft-enabled": "true"}}, "ray.io/ft-enabled is not set here but by gcsFaultTolerance"),
    (
        {"head": {"podAnnotations": {"ray.io/external-storage-namespace": "x"}}},
        "ray.io/external-storage-namespace is not set here",
    ),
    ({"env": [{"name": "REDIS_USERNAME", "value": "x"}]}, "REDIS_USERNAME is not set here"),
    ({"annotations": {"ray.io/initializing-timeout": "soon"}}, "ray.io/initializing-timeout soon is no time"),
    ({"annotations": {"ray.io/initializing-timeout": "0s"}}, "ray.io/initializing-timeout 0s is no time"),
    ({**INCREMENTAL, "gateway": {"tls": {"existingSecret": "t"}}}, "gateway.tls exclude each other"),
    ({"labels": KUEUE}, 'only with annotations: {kueue.x-k8s.io/elastic-job: "true"}'),
    ({"labels": KUEUE, "annotations": ELASTIC}, "set upgrade.type to None"),
    (
        {
            "labels": KUEUE,
            "annotations": ELASTIC,
            "upgrade": {"type": "None"},
            "engineGroups": {f"g{n}": {} for n in range(15)},
        },
        "Kueue takes 17 groups",
    ),
    ({"gpuProfiles": {"x": {"nodeSelector": {"a": "b"}}}}, "gpuProfiles.x.resourceName is missing"),
    ({"gpuProfiles": {"x": {"resourceName": "gpu"}}}, "resourceName"),
    (
        {"engineGroups": {"g": {"resources": {"limits": {"cpu": 1, "memory": "8Gi", "nvidia.com/gpu": 1}}}}},
        "limits.nvidia.com/gpu: GPUs are said by engineGroups.g.gpus",
    ),
    ({"gateway": {"resources": {"limits": {"memory": "1Gi"}}}}, "requests.memory 2Gi is more than limits.memory 1Gi"),
    ({"head": {"resources": {"limits": {"cpu": "500m"}}}}, "requests.cpu 1 is more than limits.cpu 500m"),
    ({"gateway": {"resources": {"limits": {"memory": "8 GB"}}}}, "memory"),
    ({"state": {"persistence": {"size": "large"}}}, "size"),
    ({"modelCache": {"claim": {"create": True, "accessModes": ["RWX"]}}}, "accessModes"),
    ({"networkPolicy": {"apiServerCidr": ""}}, "apiServerCidr"),
    ({"networkPolicy": {"apiServerPorts": []}}, "apiServerPorts"),
    ({"networkPolicy": {"blockedCidrs": ["metadata"]}}, "blockedCidrs"),
    ({"gateway": {"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}}, "is for the type LoadBalancer"),
    ({"monitoring": {"podMonitor": {"interval": "often"}}}, "interval"),
    ({"monitoring": {"podMonitor": {"interval": "4s"}}}, "monitoring.podMonitor.interval is 5s at least"),
    ({"image": {"tag": "a b"}}, "tag"),
    ({"ingress": {"enabled": True, "hosts": ["LLM.example.com/x"]}}, "hosts"),
    ({"annotations": {"a": True}}, "annotations"),
    ({"env": [{"name": "A", "value": 1}]}, "value"),
    ({"labels": {"app.kubernetes.io/instance": "x"}}, "app.kubernetes.io/instance is the chart's own"),
    ({"monitoring": {"podMonitor": {"labels": {"helm.sh/chart": "x"}}}}, "helm.sh/chart is the chart's own"),
    (
        {"groupDefaults": {"podLabels": {"app.kubernetes.io/component": "gateway"}}},
        "engineGroups.cpu.podLabels: app.kubernetes.io/component is the chart's or KubeRay's own",
    ),
    ({"gateway": {"podLabels": {"ray.io/group": "x"}}}, "gateway.podLabels: ray.io/group is the chart's or KubeRay's"),
    ({"extraObjects": [{"kind": "ConfigMap"}]}, "extraObjects[0]: an object has an apiVersion"),
    ({"modelCache": {"warmUp": {"enabled": True}}}, "modelCache.warmUp fills a claim"),
    ({"modelCache": {"existingClaim": "a", "claim": {"create": True}}}, "either existingClaim, or claim.create"),
    ({"drain": {"seconds": 100}}, "drain.seconds 100 is more than 145"),
    ({"models": [{**SIMULATED, "drain_timeout_s": 290}]}, "drain.seconds 300 is more than 310"),
    ({"gateway": {"replicas": 2, "podDisruptionBudget": {"minAvailable": 2}}}, "no node could ever be emptied"),
    ({"gateway": {"podDisruptionBudget": {"minAvailable": "50%"}}}, "minAvailable"),
    ({"gateway": {"replicas": 3, "maxReplicas": 2}}, "maxReplicas is smaller"),
    ({"gateway": {"port": 8265}}, "Port 8265 is used twice"),
    ({"ingress": {"enabled": True}}, "ingress.hosts is missing"),
    ({"httpRoute": {"enabled": True}}, "parentRefs is missing"),
    ({"models": [SIMULATED, SIMULATED]}, "used twice"),
    ({"models": [{**SIMULATED, "name": "gateway"}]}, "Baryon's own"),
    ({"models": [{"name": "a"}]}, "source is missing"),
    ({"models": [{"name": "a", "engine": "simulated"}]}, "needs a profile"),
    ({"models": [{"source": "/a"}]}, "name is missing"),
    ({"models": [{"name": "a", "source": "hf:x"}]}, "models[0].source hf:x is none"),
    ({"models": [{"name": "a", "source": "/a", "profile": "instant"}]}, "profile is for a simulated engine"),
    ({"models": [{"name": "a", "source": "/a", "nodes_per_replica": 2}]}, "does not divide the 1 workers"),
    ({"models": [{**SIMULATED, "tensor_parallel_size": 2, "nodes_per_replica": 2}]}, "nodes_per_replica is for vllm"),
    (
        {"models": [{"name": "a", "source": "/a", "engine_args": {"max_modellen": 1}}]},
        "models[0].engine_args.max_modellen is no argument of vLLM. Is max_model_len meant?",
    ),
    ({"models": [{"name": "a", "source": "/a", "engine_args": {"port": 1}}]}, "engine_args.port is set by"),
    ({"models": [{"name": "a", "source": "/a", "engine_args": {"api_key": "x"}}]}, "engine_args.api_key is"),
    (
        {"models": [{"name": "a", "source": "/a", "engine_args": {"enforce_eager": "yes"}}]},
        "engine_args.enforce_eager is true or false",
    ),
    ({"models": [{"name": "a", "source": "/a", "engine_args": {"dtype": "int3"}}]}, "engine_args.dtype is one of"),
    (
        {"models": [{"name": "a", "source": "/a", "engine_args": {"chat_template": "--x"}}]},
        "chat_template would be read as another argument",
    ),
    ({"tracing": {"sample": 1}}, "tracing.endpoint is the URL"),
    ({"models": [{**SIMULATED, "replicas": {"min": 3, "max": 2}}]}, "max is smaller than min"),
    ({"models": [{**SIMULATED, "node_group": "gpu"}]}, "none of engineGroups: cpu"),
    ({"models": [{"name": "a", "source": "/a", "device": "cuda"}]}, "a pod of engineGroups has 0"),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_it_is_refused_in_words(values: Document, words: str) -> None:
    with pytest.raises(HelmRefused) as refused:
        rendered(values)
    assert words in str(refused.value)


@pytest.mark.parametrize("binary", binaries(), ids=lambda path: path.name)
def test_every_helm_refuses_a_typo_in_every_section(binary: Path) -> None:
    known = json.loads((CHART / "files" / "known_keys.json").read_text())
    for section, keys in known.items():
        if isinstance(keys, dict) and not {"*", "[]"} & set(keys):
            with pytest.raises(HelmRefused, match=f"There is no value {section}.zzz"):
                rendered({section: {"zzz": 1}}, binary=binary)


def null_at(needed: Document, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in needed.items():
        yield (*path, key)
        yield from null_at(inner, (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("binary", binaries(), ids=lambda path: path.name)
def test_a_null_is_refused_in_words_wherever_a_template_needs_a_value(binary: Path) -> None:
    """`KEY:` with nothing behind it; Helm takes the default away."""
    paths = list(null_at(json.loads((CHART / "files" / "no_nulls.json").read_text())))
    said = {path: said_of_null(path, binary) for path in paths}
    assert {path: words for path, words in said.items() if f"{'.'.join(path)} is null" not in words} == {}
    assert len(paths) > 100


def said_of_null(path: tuple[str, ...], binary: Path) -> str:
    values: Any = None
    for key in reversed(path):
        values = {key: values}
    with pytest.raises(HelmRefused) as refused:
        rendered(values, binary=binary)
    return str(refused.value)


def test_what_kubernetes_leaves_free_is_free() -> None:
    free: dict[str, Any] = {
        "podAnnotations": {"a/b": "c"},
        "affinity": {"nodeAffinity": {}},
        "nodeSelector": {"disk": "ssd"},
    }
    rendered({"gateway": free, "head": free, "state": free, "engineGroups": {"cpu": free}, "global": {"any": 1}})
