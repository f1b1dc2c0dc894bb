"""The autoscaler's line on the console."""

from typing import Any

from deployments.admin.timeline import CHANGES, POINTS, timeline


def decision(at_s: float, granted: int, was: int | None = None, running: int | None = None) -> dict[str, Any]:
    return {
        "model": "chat",
        "at_s": at_s,
        "was": granted if was is None else was,
        "granted": granted,
        "reason": "enough",
        "desired": granted,
        "running": granted if running is None else running,
        "starting": 0,
        "leaving": 0,
        "load": 0.25,
        "forecast_load": 0.25,
        "bearable_load": 0.9,
        "bound": "ttft",
        "cold_start_s": 20.0,
    }


def test_a_quiet_hour_is_thinned_and_no_change_of_it_is_lost() -> None:
    made = [decision(5.0 * n, 3 if 300 <= n < 310 else 1, running=2 if n == 500 else 1) for n in range(720)]
    points = timeline(made[::-1], [])["points"]
    assert len(points) <= POINTS
    assert [point["at_s"] for point in points] == sorted(point["at_s"] for point in points)
    assert {1495.0, 1500.0, 1545.0, 1550.0, 2500.0} <= {point["at_s"] for point in points}
    assert points[0]["at_s"] == 0.0
    assert points[-1]["at_s"] == 3595.0


def test_an_hour_in_which_every_decision_changes_something_stays_bounded() -> None:
    made = [decision(5.0 * n, n % 7) for n in range(720)]
    assert len(timeline(made[::-1], made)["points"]) == POINTS
    assert len(timeline(made[::-1], made)["changes"]) == CHANGES


def test_nothing_is_decided_yet() -> None:
    assert timeline([], []) == {"points": [], "changes": [], "last": None}


def test_the_last_decision_has_its_reason_and_what_it_saw() -> None:
    last = timeline([decision(10.0, 2, was=1)], [])["last"]
    assert (last["was"], last["granted"], last["reason"], last["bearable_load"]) == (1, 2, "enough", 0.9)
