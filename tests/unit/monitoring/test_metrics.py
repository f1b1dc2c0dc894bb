"""The registry keeps Prometheus's conventions, and vLLM has what it says that vLLM has."""

import importlib.util
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.simulated.core import SimulatedEngine
from engine.simulated.metrics_text import metrics_text
from engine.simulated.profiles import get_profile
from monitoring.metrics import BARYON, VLLM, Metric

SUFFIXES = {"seconds": "_seconds", "tokens": "_tokens", "bytes": "_bytes", "ratio": "_ratio"}


@pytest.mark.parametrize("metric", BARYON, ids=lambda metric: metric.name)
def test_names_follow_the_conventions_of_prometheus(metric: Metric) -> None:
    base = metric.name.removesuffix("_total")
    assert re.fullmatch(r"baryon_[a-z0-9_]+", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert base.endswith(SUFFIXES.get(metric.unit, "")), metric
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert metric.help.endswith(".")
    assert "le" not in metric.labels


def test_each_name_is_there_once() -> None:
    names = [metric.name for metric in (*BARYON, *VLLM)]
    assert len(set(names)) == len(names)


def test_buckets_resolve_five_milliseconds_and_a_minute() -> None:
    for metric in BARYON:
        if metric.kind == "histogram":
            assert metric.buckets == tuple(sorted(metric.buckets))
            assert metric.buckets[0] < 0.005 <= metric.buckets[-1]
            assert 0.005 in metric.buckets
            assert 60.0 in metric.buckets


@pytest.mark.parametrize("metric", VLLM, ids=lambda metric: metric.name)
def test_the_installed_vllm_makes_each_metric_that_we_use(metric: Metric) -> None:
    """By its source, which takes no minute to import; what a running engine answers is a contract test's affair."""
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed here")
    source = (Path(found.origin).parent / "v1/metrics/loggers.py").read_text()
    name = metric.name if metric.kind == "histogram" else metric.name.removesuffix("_total")
    assert f'"{name}"' in source or f'name="{name}"' in source


def test_the_simulated_engine_has_all_of_them_too() -> None:
    engine = SimulatedEngine(get_profile("instant"), 8, 8192, 8)
    families = text_string_to_metric_families(metrics_text(engine, "m"))
    assert {metric.name.removesuffix("_total") for metric in VLLM} <= {f.name.removesuffix("_total") for f in families}
