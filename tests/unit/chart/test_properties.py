"""Whatever values the chart takes, it makes valid YAML, a valid RayService, and the document that Python makes."""

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.chart.helm import CHART, HelmRefused, one, rendered, serve_document
from tests.unit.chart.kuberay_schema import problems
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
VALUES = st.fixed_dictionaries(
    {"models": st.lists(MODELS, max_size=3, unique_by=lambda m: m["name"])},
    optional={
        "engineGroups": st.dictionaries(
            st.sampled_from(["a", "b-1"]), st.fixed_dictionaries({"gpus": st.sampled_from([1, 4, 8])}), max_size=2
        ),
        "gateway": st.fixed_dictionaries(
            {"replicas": st.integers(1, 5)}, optional={"podAnnotations": st.dictionaries(NASTY, NASTY, max_size=2)}
        ),
        "env": st.lists(st.builds(lambda value: {"name": "X", "value": value}, NASTY), max_size=2),
        "annotations": st.dictionaries(NASTY, NASTY, max_size=2),
    },
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(VALUES)
def test_it_is_valid_or_refused(values: dict[str, Any]) -> None:
    try:
        objects = rendered(values)
    except HelmRefused as refused:
        assert "There is no value" not in str(refused)
        assert any(words in str(refused) for words in ("used twice", "GPUs in one pod", "Baryon's own")), refused
        return
    assert problems(one(objects, "RayService")) == []
    everything = merged(yaml.safe_load((CHART / "values.yaml").read_text()), values)
    assert serve_document(objects) == as_python_makes_it(everything)
    if "annotations" in values:
        assert one(objects, "RayService")["metadata"].get("annotations", {}) == values["annotations"]
