"""What forecasts missed, by the level that they were made at."""

import pytest

from cluster.autoscaler.misses import Misses

WINDOW_S = 100.0


def seen(*windows: tuple[float, float]) -> Misses:
    """Each: what was expected, and the most that came."""
    misses = Misses()
    misses.look(0.0, 1.0, 1.0, WINDOW_S)
    for number, (expected, came) in enumerate(windows):
        misses.look((number + 1) * WINDOW_S, expected, expected, WINDOW_S)
        misses.look((number + 1.5) * WINDOW_S, came, came, WINDOW_S)
    misses.look((len(windows) + 1) * WINDOW_S, 0.0, 0.0, WINDOW_S)
    return misses


def test_before_anything_was_seen_a_third_more_may_come() -> None:
    assert Misses().quantile(0.9, 10.0) == pytest.approx(13.4, rel=0.02)


def test_a_spike_on_calm_may_come_again_on_calm_and_says_nothing_of_the_spike() -> None:
    misses = seen(*[(6.0, 6.0)] * 5, (6.0, 30.0), *[(30.0, 30.0)] * 5, *[(6.0, 6.0)] * 5)
    assert misses.quantile(0.9, 6.0) == 30.0
    assert misses.quantile(0.9, 30.0) <= 30.0 * 1.35


def test_at_another_level_as_many_times_more_or_as_much_more_whichever_is_less() -> None:
    misses = seen(*[(6.0, 6.0)] * 5, (6.0, 30.0))
    assert misses.quantile(0.9, 4.0) == pytest.approx(20.0)
    assert misses.quantile(0.9, 9.0) == pytest.approx(33.0)


def test_what_came_once_in_more_than_ten_times_is_no_longer_expected() -> None:
    assert seen((6.0, 30.0), *[(6.0, 6.0)] * 15).quantile(0.9, 6.0) == 30.0
    assert seen((6.0, 30.0), *[(6.0, 6.0)] * 30).quantile(0.9, 6.0) < 10.0
