"""The protobuf form has what the text form has, value by value."""

import math
import subprocess
import sys

from google.protobuf import descriptor_pool
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.parser import text_string_to_metric_families as text_format

from monitoring.engine_pages import EnginePages
from monitoring.metric_messages import FIELDS, PACKAGE
from monitoring.protobuf_page import ProtobufPage
from tests.unit.monitoring.engines import PAGE
from tests.unit.monitoring.protobuf_client import families, samples

Told = dict[tuple[str, frozenset[tuple[str, str]]], float]
LABELS = {"model": "m", "replica": "r0", "node": "here"}
NAME = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in ("le", "quantile"))
VALUE = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['a"b', "a\\b", "a\nb", "},{", ',le="1"']
)
NUMBER = st.floats(allow_nan=False) | st.integers(-(10**9), 10**9).map(float)


def in_protobuf(engines: EnginePages) -> bytes:
    page = ProtobufPage()
    for name, family in engines.families():
        page.add_lines(name, family.kind, family.help, family.lines)
    return page.encoded()


def in_text(engines: EnginePages) -> Told:
    text = engines.text(is_open_metrics=False)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_format(text)
        for sample in family.samples
    }


def pages_of(registry: CollectorRegistry) -> EnginePages:
    pages = EnginePages()
    pages.add(generate_latest(registry).decode(), LABELS)
    return pages


@given(st.dictionaries(NAME, VALUE, min_size=1, max_size=4), NUMBER, st.lists(st.floats(0, 100), max_size=20))
def test_an_engines_page_is_told_value_by_value(labels: dict[str, str], number: float, observed: list[float]) -> None:
    registry, names = CollectorRegistry(), tuple(labels)
    Gauge("vllm:a", "A gauge.", names, registry=registry).labels(**labels).set(number)
    Counter("vllm:b", "A\ncounter \\ of.", names, registry=registry).labels(**labels).inc(abs(number))
    histogram = Histogram("vllm:c", "A histogram.", names, registry=registry).labels(**labels)
    summary = Summary("vllm:d", "A summary.", names, registry=registry).labels(**labels)
    for value in observed:
        histogram.observe(value)
        summary.observe(value)
    pages = pages_of(registry)
    assert samples(in_protobuf(pages)) == in_text(pages)
    assert families(in_protobuf(pages))["vllm:b_total"].help == "A\ncounter \\ of."


def test_kinds_and_names_are_those_of_the_text() -> None:
    pages = EnginePages()
    pages.add(PAGE, LABELS)
    told = families(in_protobuf(pages))
    assert {name: family.type for name, family in told.items()} == {
        "vllm:num_requests_running": 1,
        "vllm:prompt_tokens_total": 0,
        "vllm:iteration_tokens_total": 4,
    }
    assert told["vllm:prompt_tokens_total"].help == "Number of prefill tokens processed."


def test_an_engine_that_tells_nonsense_spoils_nothing() -> None:
    nonsense = """# TYPE vllm:c histogram
vllm:c_bucket{le="many"} 3
vllm:c_bucket{le="NaN"} 3
vllm:c_bucket{le="1.0"} -7
vllm:c_bucket{le="2.0"} NaN
vllm:c_bucket{le="+Inf"} 1e300
vllm:c_count -3
vllm:c_count NaN
vllm:c_sum NaN
vllm:c 4
# TYPE vllm:d gauge
vllm:d{a="b" 3
vllm:d
}{
vllm:d{} soon
vllm:d{a="b"} Inf 1700000000
# TYPE vllm:e stateset
vllm:e{e="on"} 1
# TYPE vllm:f counter
"""
    pages = EnginePages()
    pages.add(nonsense, LABELS)
    told = samples(in_protobuf(pages))
    whose = frozenset(LABELS.items())
    assert math.isnan(told.pop(("vllm:c_sum", whose)))
    assert told == {
        ("vllm:c_count", whose): 0,
        ("vllm:d", whose | {("a", "b")}): math.inf,
        ("vllm:e", whose | {("e", "on")}): 1,
    }


@given(st.text(max_size=300))
def test_whatever_an_engine_says_the_page_can_be_read(said: str) -> None:
    pages = EnginePages()
    pages.add(f"# TYPE vllm:a histogram\nvllm:a_bucket{said}\n# TYPE vllm:b gauge\n{said}\nvllm:b 7\n", LABELS)
    families(in_protobuf(pages))


def test_the_messages_are_in_a_pool_of_their_own() -> None:
    for message in FIELDS:
        try:
            descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{message}")
        except KeyError:
            continue
        raise AssertionError(f"{message} is known to every package")


def test_nothing_of_it_is_loaded_before_a_client_asks() -> None:
    loads = "import sys, monitoring.exporter_app; print('google.protobuf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
