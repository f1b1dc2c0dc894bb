"""Whatever values the chart takes, it makes valid YAML, a valid RayService, and the document that Python makes."""

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.unit.chart.helm import CHART, HelmRefused, one, rendered, serve_document
from tests.unit.chart.kuberay_schema import problems
from tests.unit.chart.operator_rules import broken_rules
from tests.unit.chart.test_serve_document import as_python_makes_it, merged

NASTY = st.text(alphabet=st.sampled_from("aZ0 :{}[]#&*!|>'\"%@`-?,\\~é\n\t"), min_size=1, max_size=12)
NAMES = st.from_regex(r"[A-Za-z0-9_./:@+-]{1,12}", fullmatch=True).filter(lambda n: n not in ("gateway", "state"))
MODELS = st.builds(
    lambda name, tp, pp, least, more, priority, arguments: {
        "name": name,
        "source": "/m",
        "tensor_parallel_size": tp,
        "pipeline_parallel_size": pp,
        "replicas": {"min": least, "max": max(1, least + more)},
        "priority": priority,
        "engine_args": arguments,
    },
    NAMES,
    st.sampled_from([1, 2, 3, 4, 8, 16]),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(-3, 3),
    st.fixed_dictionaries(
        {}, optional={"chat_template": NASTY, "max_model_len": st.integers(1, 2**31), "seed": st.just(0)}
    ),
)
HOSTS = st.from_regex(r"\A(\*\.)?[a-z0-9]([-a-z0-9]{0,5}[a-z0-9])?\Z")
FREE = st.dictionaries(NASTY, NASTY, max_size=2)
ENV = st.lists(st.builds(lambda value: {"name": "X", "value": value}, NASTY), max_size=2)
SWITCH = st.fixed_dictionaries({"enabled": st.booleans()})
SMALL_POD = st.fixed_dictionaries({}, optional={"podAnnotations": FREE, "podLabels": FREE, "env": ENV})
VALUES = st.fixed_dictionaries(
    {"models": st.lists(MODELS, max_size=3, unique_by=lambda m: m["name"])},
    optional={
        "engineGroups": st.dictionaries(
            st.sampled_from(["a", "b-1"]),
            st.fixed_dictionaries(
                {"gpus": st.sampled_from([1, 4, 8])},
                optional={
                    "minReplicas": st.integers(0, 2),
                    "maxReplicas": st.integers(1, 4),
                    "hosts": st.integers(1, 3),
                    "priority": st.integers(-2, 2),
                    "podLabels": FREE,
                    "gpuProfile": st.sampled_from(["nvidia", "nvidia-l4", "none"]),
                },
            ),
            max_size=2,
        ),
        "gateway": st.fixed_dictionaries(
            {"replicas": st.integers(1, 5)},
            optional={
                "podAnnotations": FREE,
                "maxReplicas": st.integers(1, 9),
                "tls": st.sampled_from([{"existingSecret": "t"}, {}]),
                "service": st.fixed_dictionaries({}, optional={"annotations": FREE}),
            },
        ),
        "head": SMALL_POD,
        "state": SMALL_POD,
        "env": ENV,
        "annotations": FREE,
        "ingress": st.fixed_dictionaries({"enabled": st.booleans(), "hosts": st.lists(HOSTS, max_size=2)}),
        "monitoring": st.fixed_dictionaries({}, optional={"podMonitor": SWITCH, "prometheusRule": SWITCH}),
        "modelCache": st.fixed_dictionaries(
            {}, optional={"claim": st.fixed_dictionaries({"create": st.booleans()}), "warmUp": SWITCH}
        ),
        "networkPolicy": SWITCH,
        "podSecurityContext": st.none(),
        "drain": st.fixed_dictionaries({"seconds": st.integers(100, 900)}),
        "gcsFaultTolerance": st.fixed_dictionaries({"enabled": st.booleans(), "redisAddress": st.just("redis:6379")}),
        "upgrade": st.fixed_dictionaries(
            {"type": st.sampled_from(["NewCluster", "NewClusterWithIncrementalUpgrade"])},
            optional={
                "gatewayClassName": st.sampled_from(["", "istio"]),
                "stepSizePercent": st.integers(0, 120),
                "maxSurgePercent": st.integers(0, 120),
                "intervalSeconds": st.integers(0, 3),
            },
        ),
    },
)
REFUSALS = [
    "used twice",
    "GPUs in one pod",
    "Baryon's own",
    "is more than maxReplicas",
    "none of gpuProfiles",
    "maxReplicas is smaller",
    "ingress.hosts is missing",
    "modelCache.warmUp fills a claim",
    "drain.seconds",
    "upgrade.gatewayClassName",
    "gateway.tls exclude each other",
    "stepSizePercent is at most",
    "intervalSeconds is more than 0",
    "no node could ever be emptied",
    "would be read as another argument",
]


@pytest.mark.slow
@settings(
    max_examples=40,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(VALUES)
def test_it_is_valid_or_refused_in_words(values: dict[str, Any]) -> None:
    try:
        objects = rendered(values)
    except HelmRefused as refused:
        assert any(words in str(refused) for words in REFUSALS), refused
        return
    service = one(objects, "RayService")
    assert problems(service) == []
    assert broken_rules(service) == []
    everything = merged(yaml.safe_load((CHART / "values.yaml").read_text()), values)
    assert serve_document(objects) == as_python_makes_it(everything)
    assert service["metadata"].get("annotations", {}) == values.get("annotations", {})
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["metadata"]
    assert values.get("head", {}).get("podLabels", {}).items() <= head["labels"].items()
