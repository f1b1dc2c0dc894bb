"""Engines' pages become one that Prometheus takes."""

import re
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from monitoring.engine_pages import EnginePages
from tests.unit.monitoring.engines import PAGE


def labels(replica: str, model: str = "org/m") -> dict[str, str]:
    return {"model": model, "replica": replica, "node": "here"}


def merged(*, is_open_metrics: bool = False) -> str:
    pages = EnginePages()
    pages.add(PAGE, labels("one"))
    pages.add(PAGE.replace("70.0", "50.0"), labels("two"))
    return pages.text(is_open_metrics=is_open_metrics)


def values(families: Iterable[Metric], name: str) -> dict[str, float]:
    return {s.labels["replica"]: s.value for family in families for s in family.samples if s.name == name}


def test_each_line_says_whose_it_is_and_each_metric_is_there_once() -> None:
    text = merged()
    families = list(text_format(text))
    assert values(families, "vllm:prompt_tokens_total") == {"one": 70, "two": 50}
    assert values(families, "vllm:iteration_tokens_total_count") == {"one": 9, "two": 9}
    assert len(re.findall("^# TYPE vllm:prompt_tokens_total counter$", text, re.MULTILINE)) == 1
    (sample,) = (s for f in families for s in f.samples if s.labels["replica"] == "one" and s.name.endswith("running"))
    assert sample.labels == labels("one") | {"engine": "0", "model_name": "m"}


def test_it_is_also_open_metrics() -> None:
    families = list(open_metrics(merged(is_open_metrics=True) + "# EOF\n"))
    assert values(families, "vllm:prompt_tokens_total") == {"one": 70, "two": 50}
    assert {family.name: family.type for family in families}["vllm:prompt_tokens"] == "counter"


def test_what_is_not_the_engines_own_is_left_out() -> None:
    assert "http_requests" not in merged()
    assert "_created" not in merged()


def test_labels_of_theirs_that_have_our_names_are_kept_under_another() -> None:
    pages = EnginePages()
    pages.add('# TYPE vllm:x gauge\nvllm:x{model="theirs",replica="0"} 1\nvllm:x 2\nvllm:x{} 3\n', labels("one"))
    first, bare, empty = next(iter(text_format(pages.text(is_open_metrics=False)))).samples
    assert first.labels == labels("one") | {"exported_model": "theirs", "exported_replica": "0"}
    assert bare.labels == empty.labels == labels("one")


def test_a_name_cannot_break_out_of_its_label() -> None:
    pages = EnginePages()
    pages.add("# TYPE vllm:x gauge\nvllm:x 2\n", labels("one", 'a"} 1\nvllm:y{b="\\'))
    (family,) = text_format(pages.text(is_open_metrics=False))
    assert family.samples[0].labels["model"] == 'a"} 1\nvllm:y{b="\\'


def test_a_page_that_is_none_takes_no_other_engines_from_the_page() -> None:
    pages = EnginePages()
    for odd in ("# TYPE", "# TYPE vllm:y", "# HELP vllm:y", "# TYPE vllm:y gauge\nvllm:y{", "<html>{}</html>"):
        pages.add(odd, labels("odd"))
    pages.add(PAGE, labels("well"))
    assert 'replica="well"' in pages.text(is_open_metrics=False)


def test_engines_of_another_version_that_name_counters_otherwise_are_merged_with_the_rest() -> None:
    pages = EnginePages()
    pages.add("# TYPE vllm:prompt_tokens counter\nvllm:prompt_tokens_total{} 1\n", labels("one"))
    pages.add("# TYPE vllm:prompt_tokens_total counter\nvllm:prompt_tokens_total{} 2\n", labels("two"))
    text = pages.text(is_open_metrics=False)
    assert text.startswith("# TYPE vllm:prompt_tokens_total counter\n")
    assert text.count("# TYPE") == 1
