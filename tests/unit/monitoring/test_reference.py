"""The reference page says what the registry says."""

from pathlib import Path

from monitoring.metrics import BARYON, VLLM
from monitoring.reference import NATIVE_QUERIES, page
from tests.unit.monitoring.promql_names import named_in

ROOT = Path(__file__).parents[3]


def test_the_page_in_the_docs_is_current() -> None:
    written = (ROOT / "docs/metrics.md").read_text()
    assert written == page((*BARYON, *VLLM)), "run `python -m monitoring.reference > docs/metrics.md`"


def test_each_metric_is_on_it() -> None:
    text = page((*BARYON, *VLLM))
    assert all(f"| `{metric.name}` |" in text for metric in (*BARYON, *VLLM))


def test_each_latency_has_native_buckets_and_no_engines_metric_has() -> None:
    native = {metric.name for metric in (*BARYON, *VLLM) if metric.has_native_buckets}
    assert native == {f"baryon_request_{name}_seconds" for name in ("ttft", "tpot", "itl", "e2e", "queue", "routing")}
    assert page((*BARYON, *VLLM)).count("histogram, native too") == len(native)


def test_queries_of_native_histograms_name_metrics_that_are_and_no_bounds() -> None:
    native = {metric.name for metric in BARYON if metric.has_native_buckets}
    for query in NATIVE_QUERIES:
        (named,) = named_in(query)
        assert named.metric in native
        assert named.labels <= {"model", "priority"}
