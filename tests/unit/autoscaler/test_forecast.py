"""Levels, lines and jumps are told from one another, and from noise."""

from random import Random

import pytest

from cluster.autoscaler.forecast import DAY_S, Forecast, last_parts

INTERVAL_S, HORIZON_S = 5.0, 100.0


def noisy(rate: float, source: Random, noise: float) -> float:
    return max(0.0, source.gauss(rate, noise))


def fed(rates: list[float], noise: float = 0.1, seed: int = 1) -> Forecast:
    source, forecast = Random(seed), Forecast()
    for number, rate in enumerate(rates):
        forecast.add(INTERVAL_S * number, noisy(rate, source, noise), noise**2, HORIZON_S)
    return forecast


def test_a_level_stays_a_level() -> None:
    ends = [fed([1.0] * 60, seed=seed).mean(HORIZON_S) for seed in range(40)]
    assert sum(0.85 < end < 1.15 for end in ends) >= 36


def test_a_slope_goes_on() -> None:
    rising = [1.0] * 20 + [1.0 + 0.02 * number for number in range(40)]
    for seed in range(20):
        assert fed(rising, seed=seed).mean(HORIZON_S) == pytest.approx(1.8 + 0.02 * HORIZON_S / INTERVAL_S, rel=0.2)


def test_a_jump_is_a_new_level_and_not_the_begin_of_a_slope() -> None:
    for seed in range(20):
        jumped = fed([1.0] * 40 + [5.0] * 5, seed=seed)
        assert jumped.mean(HORIZON_S) == pytest.approx(5.0, rel=0.15)


def test_a_slope_that_has_ended_is_a_level() -> None:
    ended = [1.0 + 0.05 * number for number in range(30)] + [2.5] * 12
    ends = [fed(ended, seed=seed).mean(HORIZON_S) for seed in range(20)]
    assert sum(end < 2.8 for end in ends) >= 18


def test_nine_of_ten_come_below_the_quantile() -> None:
    source, forecast, below, asked = Random(5), Forecast(), 0, 0
    expected: list[tuple[float, float]] = []
    rate = 2.0
    for number in range(1_500):
        rate = max(0.5, rate * (1 + source.gauss(0, 0.01)))
        at_s = INTERVAL_S * number
        forecast.add(at_s, noisy(rate, source, 0.2), 0.04, HORIZON_S)
        while expected and expected[0][0] <= at_s:
            asked, below = asked + 1, below + (rate <= expected.pop(0)[1])
        expected.append((at_s + HORIZON_S, forecast.quantile(HORIZON_S, 0.9)))
    assert 0.85 <= below / asked <= 0.97


def test_what_came_yesterday_at_this_time_comes_again() -> None:
    forecast = Forecast()
    for number in range(int(1.25 * DAY_S / 60)):
        at_s = 60.0 * number
        morning = at_s % DAY_S >= 0.25 * DAY_S
        forecast.add(at_s, 4.0 if morning else 1.0, 0.01, 600.0)
    assert forecast.mean(0.0) == pytest.approx(1.0, abs=0.1)
    assert forecast.mean(600.0) == pytest.approx(4.0, rel=0.1)


def test_one_sample_is_a_level() -> None:
    (part,), _ = last_parts([(0.0, 3.0, 1.0)])
    assert (part.probability, part.segment.level, part.segment.slope) == (1.0, 3.0, 0.0)
    assert Forecast().quantile(100.0, 0.9) == 0


def test_surges_of_the_past_are_reckoned_with_from_the_first_look() -> None:
    """Every half an hour came twice as much for five minutes."""
    calm, forecast = Forecast(), Forecast()
    for number in range(24 * 360):
        surges = number % 180 < 30
        forecast.recall(10.0 * number, 10.0 * (number + 1), 2.0 if surges else 1.0, HORIZON_S)
        calm.recall(10.0 * number, 10.0 * (number + 1), 1.0, HORIZON_S)
    for known in (calm, forecast):
        known.add(DAY_S + INTERVAL_S, 1.0, 0.01, HORIZON_S)
    assert forecast.quantile(HORIZON_S, 0.99) >= 1.9
    assert calm.quantile(HORIZON_S, 0.99) < 1.6
