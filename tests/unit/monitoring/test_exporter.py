"""A node's page is whole whatever its engines do."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from monitoring.engine_scrape import MOST_PAGE_BYTES, Engine
from monitoring.exporter import Exporter, NodeNames
from monitoring.exporter_app import Target, exporter_app, wait_of
from monitoring.node_files import NodeFiles
from tests.unit.monitoring.engines import PAGE, engine
from tests.unit.monitoring.protobuf_client import ACCEPT, families, of_series, samples
from tests.unit.monitoring.test_node_files import Counting

BUILD = {"version": "1", "ray": "2", "vllm": "3", "python": "3.11"}


class Clock:
    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


def known(replica: str, url: str) -> Engine:
    return Engine("org/m", replica, url, lambda: {"x-baryon-internal-token": "secret"}, 4, 1_000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exporter(tmp_path: Path, clock: Clock) -> Exporter:
    return Exporter(NodeFiles(tmp_path), NodeNames("here", "ab12", "10.0.0.1"), BUILD, clock)


async def up(exporter: Exporter) -> dict[str, float]:
    page, _ = await exporter.page("", 0.5)
    families = text_format(page.decode())
    return {s.labels["replica"]: s.value for f in families if f.name == "baryon_replica_up" for s in f.samples}


async def test_a_hung_engine_is_left_out_and_the_others_are_there(exporter: Exporter) -> None:
    async with engine() as well, engine(answers=False) as hung, engine(status=404) as wrong:
        exporter.board.replace([known("well", well), known("hung", hung), known("wrong", wrong)], 0.0)
        began_s = time.monotonic()
        page, _ = await exporter.page("", 0.3)
        assert time.monotonic() - began_s < 2
    text = page.decode()
    assert 'vllm:prompt_tokens_total{model="org/m",replica="well",node="here",engine="0",model_name="m"} 70.0' in text
    assert 'replica="hung",node="here",engine' not in text
    families = {family.name: family for family in text_format(text)}
    assert {s.labels["replica"]: s.value for s in families["baryon_replica_up"].samples} == {
        "well": 1,
        "hung": 0,
        "wrong": 0,
    }
    assert families["baryon_replica_tensor_parallel_size"].samples[0].value == 4
    assert families["baryon_build_info"].samples[0].labels == BUILD


async def test_an_engine_that_comes_while_others_are_asked_is_not_shown_as_down(exporter: Exporter) -> None:
    async with engine() as well, engine(answers=False) as hung:
        exporter.board.replace([known("hung", hung)], 0.0)
        asking = asyncio.create_task(up(exporter))
        await asyncio.sleep(0.1)
        exporter.board.replace([known("hung", hung), known("new", well)], 0.0)
        assert await asking == {"hung": 0}
        assert await up(exporter) == {"hung": 0, "new": 1}


async def test_an_engine_that_says_too_much_is_left_out(exporter: Exporter) -> None:
    async with engine(PAGE + "#" * MOST_PAGE_BYTES) as loud:
        exporter.board.replace([known("loud", loud)], 0.0)
        page, _ = await exporter.page("", 5)
    assert len(page) < 10_000
    assert b'baryon_replica_up{model="org/m",node="here",replica="loud"} 0.0' in page


async def test_a_lost_engine_is_down_for_a_minute(exporter: Exporter, clock: Clock) -> None:
    async with engine() as url:
        exporter.board.replace([known("lost", url)], clock.s)
        assert await up(exporter) == {"lost": 1}
    exporter.board.replace([], clock.s)
    assert await up(exporter) == {"lost": 0}
    clock.s += 59
    assert await up(exporter) == {"lost": 0}
    clock.s += 2
    assert await up(exporter) == {}


async def test_an_engine_that_was_asked_to_go_is_heard_to_its_end_and_then_not_missed(
    exporter: Exporter, clock: Clock
) -> None:
    async with engine() as url:
        exporter.board.replace([known("going", url)], clock.s)
        exporter.board.replace([], clock.s)
        exporter.board.asked_to_go({"going"})
        clock.s += 600
        assert await up(exporter) == {"going": 1}
    assert await up(exporter) == {}


@pytest.mark.parametrize(
    "accept", ["", "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0,*/*;q=0.1"]
)
async def test_it_is_served_in_the_form_that_is_asked_for(exporter: Exporter, accept: str) -> None:
    async with engine() as url:
        exporter.board.replace([known("one", url)], 0.0)
        app = exporter_app(exporter, lambda: [Target("here", "10.0.0.1:9464")])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter") as client:
            answer = await client.get("/metrics", headers={"accept": accept})
            found = (await client.get("/sd")).json()
            missing = await client.get("/other")
    parse = open_metrics if "openmetrics" in accept else text_format
    assert answer.headers["content-type"].startswith(
        "application/openmetrics" if "openmetrics" in accept else "text/plain"
    )
    names = {family.name for family in parse(answer.text)}
    assert {"baryon_replica_up", "vllm:num_requests_running"} <= names
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in accept)
    assert found == [{"targets": ["10.0.0.1:9464"], "labels": {"node": "here"}}]
    assert missing.status_code == 404


async def test_protobuf_has_all_that_the_text_has(exporter: Exporter, tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    counting.count(7, [0.004, 0.3, 61.0])
    async with engine() as url:
        exporter.board.replace([known("one", url)], 0.0)
        app = exporter_app(exporter, tuple)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter") as client:
            text = await client.get("/metrics")
            answer = await client.get("/metrics", headers={"accept": ACCEPT})
    counting.kill()
    in_text = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_format(text.text)
        for sample in family.samples
    }
    told = samples(answer.content)
    assert answer.headers["content-type"] == ACCEPT.replace(";", "; ")
    assert told == in_text
    histogram = of_series(families(answer.content)["baryon_request_ttft_seconds"], model="a-model").histogram
    assert (histogram.schema, histogram.sample_count, histogram.zero_count) == (3, 3, 0)
    assert sum(span.length for span in histogram.positive_span) == len(histogram.positive_delta) == 3
    assert not families(answer.content)["vllm:iteration_tokens_total"].metric[0].histogram.HasField("schema")


@pytest.mark.parametrize(
    "accept", ["text/plain;version=new", ";;;,,,q", f"{ACCEPT};q=nan", f"{ACCEPT};q=0", "\xff/\xff"]
)
async def test_whatever_is_asked_for_there_is_a_page(exporter: Exporter, accept: str) -> None:
    page, content_type = await exporter.page(accept, 0.1)
    assert b"baryon_build_info{" in page
    assert content_type.startswith("text/plain")


@pytest.mark.parametrize(("timeout", "wait_s"), [(None, 3.0), ("10", 3.0), ("1", 0.6), ("-1", 3.0), ("soon", 3.0)])
def test_engines_may_take_a_part_of_the_scrapers_patience(timeout: str | None, wait_s: float) -> None:
    assert wait_of(timeout) == wait_s


async def test_engines_are_asked_with_what_opens_them(exporter: Exporter) -> None:
    asked: list[Mapping[str, str]] = []

    def headers() -> Mapping[str, str]:
        asked.append({"x-baryon-internal-token": "of-this-hour"})
        return asked[-1]

    async with engine() as url:
        exporter.board.replace([Engine("m", "one", url, headers)], 0.0)
        await exporter.page("", 1)
        await exporter.page("", 1)
    assert len(asked) == 2
