"""What clients send makes a gateway keep no more than its memories may hold: docs/gateway_memory.md has them all."""

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import orjson
import pytest

from deployments.gateway.body_rules.content import MediaReference
from deployments.gateway.body_rules.grammar import structured_outputs
from deployments.gateway.body_rules.regex import LONGEST
from deployments.gateway.body_rules.rules import check_host
from deployments.gateway.errors import GatewayError
from deployments.gateway.prompt_blocks import blocks_of
from deployments.gateway.recent_requests import KEPT, RecentRequests
from deployments.gateway.recipes.chooser import (
    HABITS_BYTES,
    RENDERINGS_BYTES,
    SPELLINGS_BYTES,
    Chooser,
    Question,
)
from deployments.gateway.recipes.inputs import LONGEST_LABEL, MOST_LABELS
from deployments.gateway.recipes.json_schema import mismatch, schema_problem
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.routing.prefix_index import PrefixIndex
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.spent import Spent
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.texts.kept_texts import MOST_BYTES, KeptTexts
from deployments.gateway.texts.request_text import RequestText
from deployments.gateway.usage_tally import MOST_AWAITED, UsageTally
from tests.unit.gateway.recipes.toy_engine import ToyEngine

MIB = 2**20
WIDE = "\U0001f600"


@dataclass
class Kept:
    mib: float = 0.0


@contextmanager
def measured() -> Iterator[Kept]:
    """How much more Python holds at the end than at the beginning."""
    kept = Kept()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield kept
        gc.collect()
        kept.mib = (tracemalloc.get_traced_memory()[0] - before) / MIB
    finally:
        tracemalloc.stop()


def test_expressions_that_are_too_long_are_not_kept_and_others_are_few() -> None:
    with measured() as kept:
        for number in range(20):
            assert structured_outputs({"regex": f"{number:09}" + "a" * MIB}) is not None
        for number in range(300):
            assert structured_outputs({"regex": f"[{number:09}{WIDE * (LONGEST - 11)}]"}) is None
    assert kept.mib < 3


def test_urls_of_media_are_kept_only_as_long_as_a_host_can_be() -> None:
    settings = GatewaySettings(media_hosts=("images.example.com",))
    with measured() as kept:
        for number in range(200):
            for url in (f"https://{number:06}{'a' * 200_000}/", f"https://{number:06}{'a' * 200}/{'b' * 4096}"):
                with pytest.raises(GatewayError):
                    check_host(MediaReference({}, "url", url), settings)
    assert kept.mib < 2


def test_schemas_are_not_kept() -> None:
    with measured() as kept:
        assert all(satisfies_large_schema(number) for number in range(10))
    assert kept.mib < 0.5


def satisfies_large_schema(number: int) -> bool:
    """1.4 MiB as Python objects; one that recipes take."""
    schema = {"title": str(number), "examples": [{} for _ in range(20_000)]}
    return schema_problem(schema) is None and mismatch(schema, {}) is None


async def test_labels_are_kept_within_their_bytes() -> None:
    """The widest labels, as many as there may be, in more sets than fit; and the engine says that each is long."""
    chooser, engine = Chooser(lambda _: 1), ToyEngine({})
    with measured() as kept:
        for number in range(15):
            labels = tuple(f"{number:03}{one:03}" + WIDE * (LONGEST_LABEL - 6) for one in range(MOST_LABELS))
            asked = [{"role": "user", "content": "?"}]
            await chooser.choose(engine, Question("acme", "m", asked, labels, (asked,)))
            engine.asked.clear()
    assert 1 < kept.mib < (SPELLINGS_BYTES + HABITS_BYTES + RENDERINGS_BYTES) / MIB


def test_requests_that_engines_say_nothing_of_are_given_up_when_they_are_many() -> None:
    tally = UsageTally(lambda: 1, lambda: 0.0)
    with measured() as kept:
        for number in range(3 * MOST_AWAITED):
            request = tally.request("acme", "chat")
            request.asks(("r" * 40, f"{'g' * 16}/req-{number:024}"), lambda: Spent(10, 5, 3))
            request.broke_off()
    assert len(tally._broken_off) == MOST_AWAITED
    assert kept.mib < 6


def test_the_latest_requests_take_two_kib_each() -> None:
    recent = RecentRequests()
    with measured() as kept:
        for number in range(2 * KEPT):
            recent.keep(long_record(number))
    assert kept.mib < 2 * KEPT * 1024 / MIB


@pytest.mark.parametrize("said", ["x", WIDE, "\0"], ids=["plain", "wide", "worst in JSON"])
def test_texts_that_are_shown_take_no_more_than_all_of_them_may(said: str) -> None:
    acme = Tenant("acme", show_text="on")
    recent = RecentRequests(texts=KeptTexts({"acme": acme}.get))
    with measured() as kept:
        for number in range(KEPT):
            turns = [{"role": f"{number:064}", "content": said * 100} for _ in range(100)]
            text = RequestText(acme, b"/v1/chat/completions", orjson.dumps({"messages": turns}))
            text.hears(orjson.dumps({"choices": [{"message": one} for one in turns]}), is_event_stream=False)
            recent.texts.keep(f"req-{number:024}", text)
    assert 0.8 * MOST_BYTES < recent.texts.bytes <= MOST_BYTES
    assert kept.mib < 1.25 * MOST_BYTES / MIB


def long_record(number: int) -> RequestRecord:
    """As long as a client can make it."""
    record = RequestRecord(f"req-{number:024}", "g" * 16, "/v1/chat/completions")
    record.client_request_id, record.trace_id, record.part_of = f"{number:0128}", f"{number:032}", f"req-{number:024x}"
    record.gaps_ms.extend([1.0] * 10_000)
    record.ttft_ms, record.predicted_ttft_ms, record.predicted_hit_tokens = number + 0.1, number + 0.2, number + 0.3
    record.engine_queue_ms, record.prefill_ms, record.decode_ms = number + 0.4, number + 0.5, number + 0.6
    record.prompt_tokens = record.output_tokens = record.cached_tokens = 10**6 + number
    record.tried = ("r1", "r2")
    for stage in range(7):
        record.stages.enter(stage)
    record.stages.end()
    return record


@pytest.mark.parametrize("length", [128, 100_000], ids=["of short prompts", "of long prompts"])
def test_the_index_of_prefixes_takes_no_more_than_it_is_given(length: int) -> None:
    index, number = PrefixIndex(4 * MIB), 0
    with measured() as kept:
        while number * length < 40_000_000 and number < 40_000:
            number += 1
            blocks = blocks_of(number.to_bytes(8, "big") + b"x" * (length - 8), b"")
            index.read("r0", blocks.hashes, [float(end) for end in blocks.ends])
            index.release("r0", blocks.hashes)
            index.shrink("r0", float("inf"))
    assert kept.mib < 4
