"""What engines say of themselves, asked no more often than somebody looks."""

import asyncio

import httpx
import pytest

from deployments.admin import engine_gauges
from deployments.admin.engine_gauges import EngineGauges, EngineLooks, parse
from deployments.gateway.replica_table import ReplicaInfo
from engine.simulated.core import SimulatedEngine
from engine.simulated.metrics_text import metrics_text
from engine.simulated.profiles import get_profile

TEXT = """
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:num_preemptions_total{engine="0",model_name="m"} 4.0
"""


def replica(name: str) -> ReplicaInfo:
    return ReplicaInfo(name, "http://127.0.0.1:1", "t", 8, 4096)


def test_engines_behind_one_port_add_up_and_the_fullest_cache_counts() -> None:
    assert parse(TEXT) == EngineGauges(5, 1, 0.75, 4)


def test_what_is_no_engines_is_not_taken_for_an_idle_one() -> None:
    assert parse("") is None
    assert parse("up 1\n") is None


def test_the_simulated_engine_is_read_too() -> None:
    engine = SimulatedEngine(get_profile("instant"), 8, 512, 8)
    assert parse(metrics_text(engine, "m")) == EngineGauges(0, 0, 0.0, 0)


async def test_many_who_look_at_once_are_one_look() -> None:
    asked = []

    async def fetch(of: ReplicaInfo) -> str:
        asked.append(of.replica_id)
        await asyncio.sleep(0)
        return TEXT

    looks = EngineLooks(fetch)
    answers = await asyncio.gather(*(looks.of([replica("a"), replica("b")]) for _ in range(20)))
    assert sorted(asked) == ["a", "b"]
    assert all(answer.keys() == {"a", "b"} for answer in answers)
    await looks.of([replica("a")])
    assert len(asked) == 2, "what was seen a moment ago is still good"


async def test_an_engine_that_talked_nonsense_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_gauges, "KEPT_S", 0.0)
    pages = ["vllm:num_requests_running\n", "vllm:num_requests_running +Inf\n", TEXT]

    async def fetch(_: ReplicaInfo) -> str:
        return pages.pop(0)

    looks = EngineLooks(fetch)
    assert [(await looks.of([replica("a")])).keys() for _ in range(3)] == [set(), set(), {"a"}]


async def test_an_engine_that_does_not_answer_hides_no_other() -> None:
    async def fetch(of: ReplicaInfo) -> str:
        if of.replica_id == "dead":
            raise httpx.ConnectError("refused")
        if of.replica_id == "odd":
            return "vllm:num_requests_running much\n"
        return TEXT

    seen = await EngineLooks(fetch).of([replica("dead"), replica("odd"), replica("well")])
    assert seen.keys() == {"well"}
