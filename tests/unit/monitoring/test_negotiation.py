"""Who gets protobuf: a client that prefers it, and nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from monitoring.negotiation import PROTOBUF_CONTENT_TYPE, text_encoder, wants_protobuf

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
PROMETHEUS_2_42 = (
    f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    f"{PROTOBUF};escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    "accept",
    [
        PROTOBUF,
        PROTOBUF_CONTENT_TYPE,
        PROMETHEUS_2_42,
        PROMETHEUS_3,
        f"{PROTOBUF},application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
        f"text/plain;q=0.5,{PROTOBUF}",
        f"text/plain;q=0.5, {PROTOBUF} ; q=0.6",
        f"*/*,{PROTOBUF}",
        f"text/html,{PROTOBUF};q=0.001",
        PROTOBUF.replace("application", "Application").replace(";", " ; ").replace("proto=", "Proto="),
        PROTOBUF.replace("=delimited", '="delimited"'),
        f"{PROTOBUF.replace('delimited', 'text')},{PROTOBUF};q=0.4,text/plain;q=0.3",
    ],
)
def test_it_is_told_as_protobuf_where_that_is_preferred(accept: str) -> None:
    assert wants_protobuf(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "text/plain;version=0.0.4",
        "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
        "application/vnd.google.protobuf",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
        PROTOBUF.replace("delimited", "text"),
        PROTOBUF.replace("delimited", "compact-text"),
        PROTOBUF.replace("MetricFamily", "Metric"),
        f"{PROTOBUF};q=0",
        f"{PROTOBUF};q=0.000,text/plain;q=0.1",
        f"text/plain,{PROTOBUF}",
        f"text/plain;q=0.9,{PROTOBUF};q=0.8",
        f"application/openmetrics-text;version=1.0.0,{PROTOBUF};q=0.99",
        f"{PROTOBUF};q=2",
        f"{PROTOBUF};q=nan",
        f"{PROTOBUF};q=1e1",
        f"{PROTOBUF};q=-1",
        f"{PROTOBUF};q=",
        f"{PROTOBUF};q=0.1234",
        f"{PROTOBUF};q=٠.٩",
    ],
)
def test_everybody_else_gets_text(accept: str) -> None:
    assert not wants_protobuf(accept)


PIECES = st.sampled_from(
    [*';,="\\/* ', PROTOBUF, "text/plain", "q=", "0.5", "q=1", "version=", "1.0.0", "application/openmetrics-text"]
)
HOSTILE = st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join)


@given(HOSTILE)
def test_whatever_is_asked_for_something_is_told(accept: str) -> None:
    wants_protobuf(accept)
    encode, content_type = text_encoder(accept)
    assert encode(CollectorRegistry()) in (b"", b"# EOF\n")
    assert content_type.startswith(("text/plain", "application/openmetrics-text"))


@pytest.mark.parametrize("version", ["new", "1.x", "9" * 5_000, "."])
def test_a_version_that_is_none_gets_what_everybody_gets(version: str) -> None:
    assert text_encoder(f"text/plain;version={version}") == choose_encoder("")


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=1.0.0;escaping=dots", PROMETHEUS_2_42])
def test_text_is_chosen_as_prometheus_client_does(accept: str) -> None:
    ours, theirs = text_encoder(accept), choose_encoder(accept)
    assert ours[1] == theirs[1]
    assert ours[0](CollectorRegistry()) == theirs[0](CollectorRegistry())
