"""The chart's `serveConfigV2` is what `baryon up` would give Serve for the same models in the same pods."""

from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from cluster.config import BaryonConfig
from cluster.kuberay import surroundings_in_pods
from cluster.serve_schema import serve_schema
from tests.unit.chart.helm import CHART, Document, rendered, serve_document

GPU = {"gpus": 8, "maxReplicas": 3}
SIMULATED = {"name": "s", "engine": "simulated", "profile": "instant"}
VALUES: list[Document] = [
    {},
    {"models": []},
    {"models": [{**SIMULATED, "replicas": {"min": 0}, "wake": {"max_wait_s": 9}, "priority": -2}]},
    {
        "models": [{**SIMULATED, "replicas": {"max": 4}, "slo": {"ttft_ms": 12.5}, "device": "cuda"}],
        "engineGroups": {"g": GPU},
    },
    {
        "models": [
            {"name": "org/a b".replace(" ", "-"), "source": "hf:org/a@main", "tensor_parallel_size": 16},
            {"name": "b", "source": "hf:org/b@main", "tensor_parallel_size": 6, "pipeline_parallel_size": 2},
            {"name": "c", "source": "hf:org/c@main", "node_group": "small", "tensor_parallel_size": 4},
            {"name": "d", "source": "/models/d", "device": "cpu", "node_group": "cpu", "cpus_per_replica": 1.5},
            {"name": "e", "source": "hf:org/e@main", "tensor_parallel_size": 4, "nodes_per_replica": 2},
        ],
        "engineGroups": {"big": GPU, "small": {"gpus": 2, "maxReplicas": 4, "hosts": 2}},
    },
    {
        "models": [
            {
                "name": "x",
                "source": "hf:o/x@main",
                "drain_timeout_s": 30,
                "hang_timeout_s": 50,
                "max_in_flight": 100000000,
                "kv_cache_gib": 0.5,
                "engine_args": {
                    "max_model_len": 1048576,
                    "enforce_eager": True,
                    "gpu_memory_utilization": 0.85,
                    "hf_overrides": {
                        "api_key": "s",
                        "url": "https://user:pw@host/x",
                        "max_num_batched_tokens": 1,
                        "list": [{"Token": 1}],
                    },
                },
            }
        ],
        "gateway": {
            "replicas": 3,
            "adminPort": 0,
            "tls": {"existingSecret": "t"},
            "recipes": {"existingConfigMap": "r"},
            "settings": {
                "cors_origins": ["https://A.example"],
                "media_hosts": ["I.Example"],
                "queue_max_wait_s": 0,
                "max_n": 2,
            },
        },
        "tracing": {"endpoint": "http://collector:4318//", "sample": 0},
        "monitoring": {"port": 0},
    },
    {"tracing": {"endpoint": "https://c:1/x/y"}},
]


def as_python_makes_it(values: Document) -> Document:
    gateway = values["gateway"]
    tls = {"certificate": "/etc/baryon/tls/tls.crt", "key": "/etc/baryon/tls/tls.key"}
    config = BaryonConfig.model_validate(
        {
            "models": values["models"],
            "tracing": values["tracing"],
            "monitoring": {"port": values["monitoring"]["port"]},
            "gateway": {
                **gateway["settings"],
                "host": "0.0.0.0",
                "port": gateway["port"],
                "processes": gateway["replicas"],
                "admin_port": gateway["adminPort"],
                "tls": tls if gateway["tls"]["existingSecret"] else None,
                **({"recipes_folder": "/etc/baryon/recipes"} if gateway["recipes"]["existingConfigMap"] else {}),
            },
            "ray": {"max_gpus": gpus_at_most(values) or None},
        }
    )
    return serve_schema(config, surroundings_in_pods(gpus_of_a_pod(values), "helm release demo"))


def groups_of(values: Document) -> dict[str, Document]:
    return {n: {**values["groupDefaults"], **g} for n, g in values["engineGroups"].items() if g is not None}


def gpus_of_a_pod(values: Document) -> dict[str, float]:
    return {name: float(group["gpus"]) for name, group in groups_of(values).items()}


def gpus_at_most(values: Document) -> int:
    return sum(group["gpus"] * group["hosts"] * group["maxReplicas"] for group in groups_of(values).values())


def merged(under: Any, over: Any) -> Any:
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    return {**under, **{key: merged(under.get(key), value) for key, value in over.items()}}


@pytest.mark.parametrize("values", VALUES, ids=range(len(VALUES)))
def test_it_is_the_same(values: Document) -> None:
    everything = merged(yaml.safe_load((CHART / "values.yaml").read_text()), values)
    assert serve_document(rendered(values)) == as_python_makes_it(everything)


@pytest.mark.parametrize("preset", ["cpu", "single-gpu", "multi-gpu", "ha", "hardened"])
def test_it_is_the_same_for_a_preset_and_serve_accepts_it(preset: str) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    values = merged(values, yaml.safe_load((CHART / f"values-{preset}.yaml").read_text()))
    document = serve_document(rendered(presets=(preset,)))
    assert document == as_python_makes_it(values)
    ServeDeploySchema.model_validate(document)
