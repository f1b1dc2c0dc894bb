"""What would fail later, or silently, is refused before anything is created, with words."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.chart.helm import CHART, Document, HelmRefused, binaries, rendered

SIMULATED = {"name": "s", "engine": "simulated", "profile": "instant"}
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


def test_what_kubernetes_leaves_free_is_free() -> None:
    free: dict[str, Any] = {
        "podAnnotations": {"a/b": "c"},
        "affinity": {"nodeAffinity": {}},
        "nodeSelector": {"x": "y"},
    }
    rendered({"gateway": free, "head": free, "state": free, "engineGroups": {"cpu": free}, "global": {"any": 1}})
