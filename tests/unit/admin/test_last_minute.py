"""What a minute of requests comes to: exact in counts, near in quantiles, bounded in memory."""

from typing import Any

import pytest

from deployments.admin.last_minute import MOST_MODELS, LastMinute, Sums, quantile_ms, step_of
from deployments.gateway.request_record import RequestRecord


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def record(model: str = "chat", **news: Any) -> RequestRecord:
    made = RequestRecord("req-1", "g", "/v1/chat/completions", model=model, replica="r0", outcome="completed")
    for name, value in news.items():
        setattr(made, name, value)
    return made


def test_what_is_older_than_a_minute_no_longer_counts() -> None:
    clock = Clock()
    minute = LastMinute(clock)
    minute(record(output_tokens=10, prompt_tokens=100, cached_tokens=40))
    clock.now_s += 59
    minute(record(output_tokens=1))
    assert (minute.by_model()["chat"].requests, minute.by_model()["chat"].output_tokens) == (2, 11)
    assert minute.prompts_by_replica() == {"r0": (100, 40)}
    clock.now_s += 2
    assert minute.by_model()["chat"].output_tokens == 1
    clock.now_s += 3_600
    assert minute.by_model() == {}


def test_rates_of_a_young_gateway_are_of_the_time_it_was_there() -> None:
    clock = Clock()
    minute = LastMinute(clock)
    clock.now_s += 10
    assert minute.window_s == 10
    clock.now_s += 600
    assert minute.window_s == 60


def test_quantiles_of_two_gateways_add_up_within_their_precision() -> None:
    ttfts = [1.07**n for n in range(1, 150)]
    one, other = LastMinute(), LastMinute()
    for at, ttft_ms in enumerate(ttfts):
        (one if at % 2 else other)(record(ttft_ms=ttft_ms))
    together = Sums()
    for minute in (one, other):
        together.add(Sums.of(minute.by_model()["chat"].document()))
    for share in (0.5, 0.95):
        assert quantile_ms(together.ttfts, share) == pytest.approx(ttfts[round(share * len(ttfts))], rel=0.1)
    assert quantile_ms(Sums().ttfts, 0.5) is None


def test_every_time_has_a_step() -> None:
    assert step_of(0.0) < step_of(1.0) < step_of(600_000.0)


def test_what_was_not_judged_is_not_called_missed() -> None:
    minute = LastMinute()
    for met in (True, False, None):
        minute(record(slo_met=met))
    sums = minute.by_model()["chat"]
    assert (sums.judged, sums.met) == (2, 1)


def test_names_do_not_grow_without_bound() -> None:
    minute = LastMinute(Clock())
    for number in range(10_000):
        minute(record(f"model-{number}", replica=f"r{number}", prompt_tokens=1))
    assert len(minute.by_model()) == MOST_MODELS
    assert len(minute.prompts_by_replica()) <= 512
