"""The simulated engine tells what vLLM tells, under the same names."""

import asyncio
import contextlib

import pytest
from prometheus_client import Metric as Sampled
from prometheus_client.parser import text_string_to_metric_families

from engine.simulated.core import SimulatedEngine
from engine.simulated.metrics_text import metrics_text
from engine.simulated.profiles import Profile, get_profile
from monitoring.metrics import REPLICA, VLLM


@pytest.fixture
def profile() -> Profile:
    return get_profile("llama-3.1-8b-h100-tp1")


async def asked(engine: SimulatedEngine, answers: int, tokens: int, leave_after: int | None = None) -> None:
    for number in range(answers):
        taken = 0
        answer = engine.generate(f"r{number}", f"prompt {number} " * 40, [tokens])
        async for made, _ in answer:
            taken += made[0]
            if leave_after is not None and taken >= leave_after:
                break
        await answer.aclose()  # type: ignore[attr-defined]


async def pages(profile: Profile, answers: int, tokens: int, leave_after: int | None = None) -> dict[str, Sampled]:
    engine = SimulatedEngine(profile, 10, 2048, 16)
    stepping = asyncio.create_task(engine.run())
    await asked(engine, answers, tokens, leave_after)
    stepping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stepping
    return {family.name: family for family in text_string_to_metric_families(metrics_text(engine, "m"))}


async def test_every_metric_of_vllm_that_we_use_is_there_with_its_labels(profile: Profile) -> None:
    told = await pages(profile, answers=1, tokens=3)
    for metric in VLLM:
        family = told[metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name]
        assert family.type == metric.kind, metric.name
        labels = {label for sample in family.samples for label in sample.labels}
        assert set(metric.labels) - set(REPLICA) <= labels, metric.name


async def test_times_are_those_of_the_requests(profile: Profile) -> None:
    told = await pages(profile, answers=3, tokens=5)
    assert value(told, "vllm:time_to_first_token_seconds_count") == 3
    assert value(told, "vllm:inter_token_latency_seconds_count") == 3 * 4
    whole = value(told, "vllm:e2e_request_latency_seconds_sum")
    parts = sum(value(told, f"vllm:request_{part}_time_seconds_sum") for part in ("queue", "prefill", "decode"))
    assert parts == pytest.approx(whole, rel=0.1)
    assert ended(told) == {"length": 3, "abort": 0}


async def test_an_answer_that_nobody_waits_for_is_aborted(profile: Profile) -> None:
    assert ended(await pages(profile, answers=2, tokens=50, leave_after=2)) == {"length": 0, "abort": 2}


def value(told: dict[str, Sampled], name: str) -> float:
    return float(next(s.value for family in told.values() for s in family.samples if s.name == name))


def ended(told: dict[str, Sampled]) -> dict[str, float]:
    return {s.labels["finished_reason"]: s.value for s in told["vllm:request_success"].samples}
