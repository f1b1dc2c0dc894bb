"""What work takes in truth is known soon, however far it is from what was taken for granted."""

from random import Random

import pytest

from deployments.gateway.routing.score import Coefficients
from deployments.gateway.routing.yardstick import Yardstick

ESTIMATED = Coefficients(0.05, 1.5, 20.0, 0.03, 0.03)


def after(prefills: int, times: float) -> Yardstick:
    yardstick, random = Yardstick(), Random(1)
    for _ in range(prefills):
        predicted_ms = random.uniform(2, 10)
        yardstick.saw_prefill(predicted_ms, times * predicted_ms * random.uniform(0.9, 1.1))
    return yardstick


@pytest.mark.parametrize(("times", "prefills"), [(5.0, 40), (20.0, 40), (0.1, 150)])
def test_a_model_that_is_much_slower_is_known_within_forty_requests(times: float, prefills: int) -> None:
    measured = after(prefills, times).measured(ESTIMATED)
    assert measured.prefill_ms(1_000, 0) == pytest.approx(times * ESTIMATED.prefill_ms(1_000, 0), rel=0.4)


def test_what_is_nearly_right_is_left_to_the_estimate() -> None:
    assert after(100, 1.6).measured(ESTIMATED) == ESTIMATED


def test_an_engine_that_stood_still_once_is_not_slow() -> None:
    yardstick = after(100, 1.0)
    yardstick.saw_prefill(5.0, 60_000.0)
    assert yardstick.measured(ESTIMATED) == ESTIMATED


def test_a_token_takes_no_longer_alone_than_it_did_beside_others() -> None:
    yardstick, random = Yardstick(), Random(1)
    for _ in range(300):
        yardstick.saw_decode(41, 40 * random.uniform(12, 90))
    assert 10 < yardstick.measured(ESTIMATED).step_ms < 20
    for _ in range(300):
        yardstick.saw_decode(41, 40 * random.uniform(50, 90))
    assert yardstick.measured(ESTIMATED).step_ms == ESTIMATED.step_ms


def test_hits_count_from_the_first_answer_on() -> None:
    yardstick = Yardstick()
    assert yardstick.hit_rate == 0.5
    yardstick.saw_hit(1_000, 0)
    assert yardstick.hit_rate == 0
    for _ in range(100):
        yardstick.saw_hit(1_000, 800)
    assert yardstick.hit_rate == pytest.approx(0.8, abs=0.01)


def test_what_says_nothing_changes_nothing() -> None:
    yardstick = Yardstick()
    yardstick.saw_prefill(0.0, 5.0)
    yardstick.saw_prefill(5.0, 0.0)
    yardstick.saw_decode(1, 100.0)
    yardstick.saw_decode(50, 0.0)
    assert yardstick.measured(ESTIMATED) == ESTIMATED
