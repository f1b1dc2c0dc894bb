"""The token changes every hour, and no request fails because of it."""

import time

import pytest

from engine.internal_token import PERIOD_S, is_token, token_now


def at(monkeypatch: pytest.MonkeyPatch, now_s: float) -> None:
    monkeypatch.setattr(time, "time", lambda: now_s)


@pytest.mark.parametrize("skew_s", [-PERIOD_S, -1.0, 0.0, 1.0, PERIOD_S])
def test_an_engine_whose_clock_is_within_an_hour_takes_it(monkeypatch: pytest.MonkeyPatch, skew_s: float) -> None:
    for now_s in (PERIOD_S * 1_000, PERIOD_S * 1_001 - 0.001, PERIOD_S * 1_000.5):
        at(monkeypatch, now_s)
        sent = token_now("s")
        at(monkeypatch, now_s + skew_s)
        assert is_token("s", sent)


def test_it_is_worthless_after_two_hours_and_to_other_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, PERIOD_S * 1_000)
    sent = token_now("s")
    assert not is_token("another", sent)
    assert not is_token("s", b"s")
    at(monkeypatch, PERIOD_S * 1_002)
    assert not is_token("s", sent)
    assert token_now("s") != sent
