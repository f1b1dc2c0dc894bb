"""The time between two pieces of a stream is known better than by uvloop, whose clock has whole milliseconds."""

import asyncio
from time import monotonic
from types import SimpleNamespace
from typing import Any

import uvloop

from deployments.gateway.relay import Relay
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.settings import GatewaySettings

APART_S = 0.0004


async def gaps_ms() -> list[float]:
    record = RequestRecord("req-1", "gateway-1", "/v1/completions")
    answer: Any = SimpleNamespace(
        response=SimpleNamespace(write=lambda _: None), record=record, has_begun=True, has_to_stream=False
    )
    tap: Any = SimpleNamespace(event_data=lambda data: data)
    relay = Relay(answer, [], GatewaySettings(), tap)
    relay.on_head(200, [(b"content-type", b"text/event-stream")])
    for _ in range(3):
        relay.on_data(b"data: {}\n\n")
        until_s = monotonic() + APART_S
        while monotonic() < until_s:
            pass
    return list(record.gaps_ms)[1:]


def test_pieces_less_than_a_millisecond_apart_are_told_apart() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert all(1000 * APART_S <= gap_ms < 100 for gap_ms in runner.run(gaps_ms()))
