"""Speeds are learned from what passes, and wild samples do not unlearn them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.routing.estimator import Estimator
from deployments.gateway.routing.fit import Factor, LinearFit


def prefill_ms(prompt_tokens: float, hit_tokens: float, scale: float) -> float:
    uncached = prompt_tokens - hit_tokens
    return scale * (0.06 * uncached + 0.9 * uncached * (prompt_tokens - uncached / 2) / 1e6)


@pytest.mark.parametrize("scale", [0.2, 1.0, 300.0])
def test_prefill_and_decode_speeds_are_learned_whatever_the_hardware(scale: float) -> None:
    """From a small model on a GPU to a large one on a CPU, within some hundreds of requests."""
    estimator, random = Estimator(), Random(1)
    for _ in range(800):
        prompt, resident = random.uniform(50, 20_000), random.uniform(0, 300_000)
        hit = random.choice((0.0, 0.5)) * prompt
        estimator.saw_prefill("r", 0, prompt, hit, prefill_ms(prompt, hit, scale) * random.uniform(0.7, 1.3))
        decoding, prefills_ms = random.randint(1, 60), scale * random.uniform(0, 2_000)
        step_ms = scale * (14 + 0.05 * decoding + 0.03 * resident / 1000) * random.uniform(0.8, 1.2)
        estimator.saw_decode("r", 0, 200, step_ms * 199 + prefills_ms, prefills_ms, decoding, resident)
    speed = estimator.of("r", 0)
    for prompt, hit in ((1_000, 0), (8_000, 0), (16_000, 8_000)):
        assert speed.prefill_ms(prompt, hit) == pytest.approx(prefill_ms(prompt, hit, scale), rel=0.25)
    assert speed.decode_step_ms(40, 100_000) == pytest.approx(scale * 19, rel=0.15)
    assert estimator.output_tokens == pytest.approx(200)


def test_a_slower_replica_of_a_mixed_fleet_is_found_out_and_a_new_one_starts_with_what_is_known() -> None:
    estimator, random = Estimator(), Random(2)
    for _ in range(300):
        for replica, slowness in (("fast", 1.0), ("slow", 2.0)):
            prompt = random.uniform(500, 8_000)
            estimator.saw_prefill(replica, 0, prompt, 0, prefill_ms(prompt, 0, slowness))
            estimator.saw_decode(replica, 0, 100, slowness * 20 * 99, 0, 10, 50_000)
    fast, slow, new = (estimator.of(name, 0) for name in ("fast", "slow", "new"))
    assert slow.prefill_ms(4_000, 0) / fast.prefill_ms(4_000, 0) == pytest.approx(2, rel=0.15)
    assert slow.decode_step_ms(10, 50_000) / fast.decode_step_ms(10, 50_000) == pytest.approx(2, rel=0.15)
    assert fast.prefill_ms(4_000, 0) < new.prefill_ms(4_000, 0) < slow.prefill_ms(4_000, 0)


def test_one_replica_faster_than_the_prior_does_not_look_faster_than_those_not_tried_yet() -> None:
    estimator, random = Estimator(), Random(4)
    for _ in range(200):
        prompt = random.uniform(500, 8_000)
        estimator.saw_prefill("tried", 0, prompt, 0, prefill_ms(prompt, 0, 0.2))
        estimator.saw_decode("tried", 0, 100, 4 * 99, 0, 10, 50_000)
    tried, new = estimator.of("tried", 0), estimator.of("new", 0)
    assert new.prefill_ms(4_000, 0) == pytest.approx(tried.prefill_ms(4_000, 0), rel=0.2)
    assert new.decode_step_ms(10, 50_000) == pytest.approx(tried.decode_step_ms(10, 50_000), rel=0.2)


def test_a_few_absurd_samples_move_little() -> None:
    fit, random = LinearFit((1.0, 1.0)), Random(3)
    for number in range(600):
        u, v = random.uniform(1, 100), random.uniform(1, 100)
        y = 1e6 if number % 50 == 49 else 3 * u + 5 * v
        fit.add((u, v), y)
    assert fit.coefficients == pytest.approx((3, 5), rel=0.25)


@given(st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 3), max_size=50))
def test_no_samples_make_a_negative_or_endless_speed(samples: list[tuple[float, float, float]]) -> None:
    fit = LinearFit((0.05, 1.5, 20.0))
    for u, v, y in samples:
        fit.add((abs(u), abs(v), 1.0), y)
    assert all(0 < coefficient < 1e18 for coefficient in fit.coefficients)


def test_little_evidence_changes_a_factor_little() -> None:
    factor = Factor(prior_ms=2_000, remembered_ms=60_000)
    factor.add(200, 100)
    assert factor.value() == pytest.approx(1.05, abs=0.01)
    for _ in range(1000):
        factor.add(200, 100)
    assert factor.value() == pytest.approx(2, abs=0.1)


def test_prefills_that_share_a_step_do_not_make_decoding_look_fast() -> None:
    """Of short prompts several are computed in one step, which takes as long as it would without them."""
    estimator, random = Estimator(), Random(4)
    for _ in range(400):
        prefills_a_step = random.uniform(0.5, 2.5)
        steps = random.randint(50, 150)
        estimator.saw_prefill("r", 0, 8, 0, 21 / prefills_a_step)
        prefills_ms = estimator.of("r", 0).prefill_ms(8, 0) * prefills_a_step * steps
        estimator.saw_decode("r", 0, steps + 1, 21 * steps, prefills_ms, random.randint(100, 140), 8_000)
    assert estimator.of("r", 0).decode_step_ms(120, 8_000) > 15


def test_a_replica_that_was_slow_long_ago_is_taken_for_one_like_the_others() -> None:
    estimator = Estimator()
    for _ in range(200):
        for replica, slowness in (("fast", 1.0), ("slow", 4.0)):
            estimator.saw_decode(replica, 1_000, 100, slowness * 20 * 99, 0, 10, 50_000)
    fast, slow = (estimator.of(name, 1_000).decode_step_ms(10, 50_000) for name in ("fast", "slow"))
    late_fast, late_slow = (estimator.of(name, 3.6e6).decode_step_ms(10, 50_000) for name in ("fast", "slow"))
    assert slow / fast == pytest.approx(4, rel=0.2)
    assert late_slow / late_fast == pytest.approx(1, abs=0.05)
