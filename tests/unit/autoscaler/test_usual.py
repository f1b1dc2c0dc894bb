"""What an average request takes, from many of them."""

from dataclasses import replace
from random import Random
from statistics import stdev

import pytest

from cluster.autoscaler.demand import Demand
from cluster.autoscaler.usual import Usual
from tests.unit.autoscaler.test_autoscaler import CHAT, DEMAND


def of_prefill(prefill_ms: float, requests: int) -> Demand:
    return replace(DEMAND, arrived_requests=requests, shape=replace(CHAT, prefill_ms=prefill_ms))


def test_it_moves_less_than_what_it_is_told() -> None:
    usual, source = Usual(), Random(1)
    told = [source.gauss(200, 20) for _ in range(200)]
    kept = [usual.of(of_prefill(ms, 50), 1_000.0).shape.prefill_ms for ms in told]
    assert stdev(kept[20:]) < stdev(told) / 3


def test_it_forgets_what_came_before_a_horizon() -> None:
    usual = Usual()
    usual.of(of_prefill(100.0, 1_000), 500.0)
    for _ in range(40):
        demand = usual.of(of_prefill(300.0, 50), 500.0)
    assert demand.shape.prefill_ms == pytest.approx(300.0, rel=0.02)


def test_nothing_that_came_changes_nothing_and_what_is_first_is_all_that_is_known() -> None:
    usual = Usual()
    assert usual.of(of_prefill(100.0, 0), 0.0).shape.prefill_ms == 100.0
    assert usual.of(of_prefill(250.0, 3), 100.0).shape.prefill_ms == 250.0
    assert usual.of(of_prefill(900.0, 0), 100.0).shape.prefill_ms == 250.0
