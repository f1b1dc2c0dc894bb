"""Down to no replica and back: when nobody asks any more, and as soon as somebody does."""

import pytest

from cluster.autoscaler.autoscaler import Autoscaler
from cluster.autoscaler.capacity import Promise, Shape, Speed
from cluster.autoscaler.cold_start import ColdStart
from cluster.autoscaler.decision import Goal, Limits, Observation
from cluster.autoscaler.demand import Demand
from cluster.autoscaler.quiet import Quiet
from tests.unit.autoscaler.test_autoscaler import CACHE_TOKENS, INTERVAL_S, ONE_REPLICA_RPS, PROMISE, SPEED, World

NOTHING_KNOWN = Demand(
    arrived_requests=0,
    finished_requests=0,
    met_requests=0,
    waiting_requests=0,
    waiting_ms=0.0,
    shape=Shape(0.0, 0.0, 0.0, 0.0),
    speed=SPEED,
    remembered_requests=0.0,
)


def test_without_demand_it_goes_to_zero_not_before_a_cold_start_and_stays_there() -> None:
    world = World(running=2, least=0)
    world.run(1.5 * ONE_REPLICA_RPS, 300)
    ended_s = world.now_s
    world.run(0.0, 1_800)
    assert world.running == 0
    zero_s = next(decision.now_s for decision in world.decisions if decision.desired == 0)
    assert 60 <= zero_s - ended_s <= 400
    assert all(decision.desired == 0 for decision in world.decisions if decision.now_s > zero_s)
    assert world.decisions[-1].reason == "nobody asks"


@pytest.mark.parametrize("told", [{"waiting_requests": 1, "waiting_ms": 220.0}, {"in_flight": {"a": 1}}])
def test_who_waits_wakes_it_at_once(told: dict[str, object]) -> None:
    world = World(running=1, least=0)
    world.run(0.0, 900)
    assert world.running == 0
    assert world.step(0.0, **told).desired == 1
    assert world.step(0.0, **told).desired == 1


def test_one_that_was_refused_wakes_it_too() -> None:
    world = World(running=0, least=0)
    assert world.step(0.2).desired >= 1


def test_many_that_wait_wake_several() -> None:
    world = World(running=0, least=0)
    assert world.step(40 * ONE_REPLICA_RPS, waiting_requests=200, waiting_ms=200 * 220.0).desired > 3


def test_a_request_now_and_then_keeps_the_last_replica() -> None:
    world = World(running=1, least=0)
    for _ in range(40):
        world.step(0.2)
        world.run(0.0, 100)
    assert all(decision.desired >= 1 for decision in world.decisions)


def test_a_stream_that_goes_on_keeps_its_replica() -> None:
    world = World(running=1, least=0)
    for _ in range(400):
        assert world.step(0.0, in_flight={"a": 1}).desired == 1


@pytest.mark.parametrize("speed", [SPEED, Speed(0.0, 0.0, 0.0)])
@pytest.mark.parametrize("running", [0, 1])
@pytest.mark.parametrize("waiting", [0, 1])
def test_before_the_first_request_nothing_is_known_and_nothing_breaks(speed: Speed, running: int, waiting: int) -> None:
    autoscaler = Autoscaler(Goal(PROMISE, Limits(0, 5)), ColdStart(60.0))
    demand = Demand(0, 0, 0, waiting, 0.0, NOTHING_KNOWN.shape, speed, 0.0)
    seen = Observation(INTERVAL_S, 0.0, demand, CACHE_TOKENS, running, 0, 0)
    assert autoscaler.decide(seen).desired == max(running, waiting)


def test_where_no_replica_keeps_the_slo_one_wakes_all_the_same_and_sleeps_again() -> None:
    world = World(running=0, least=0)
    world.autoscaler.goal = Goal(Promise(100, 100), Limits(0, 20))
    assert world.step(0.0, waiting_requests=1).desired == 1
    assert world.run(0.0, 900).desired == 0


def test_what_comes_every_day_is_woken_for_ahead() -> None:
    day_s, from_s, until_s = 14_400.0, 6_000.0, 9_600.0
    world = World(running=1, least=0, cold_s=120.0, day_s=day_s)
    while world.now_s < day_s + from_s:
        world.step(4.0 * ONE_REPLICA_RPS if from_s <= world.now_s % day_s < until_s else 0.0)
    before = [d for d in world.decisions if d.now_s > day_s]
    assert before[0].desired == 0
    woken_s = next(decision.now_s for decision in before if decision.desired)
    assert 100 <= day_s + from_s - woken_s <= 400


def test_silences_that_were_short_before_are_waited_out_and_long_ones_are_not() -> None:
    patient, eager = Quiet(), Quiet()
    for quiet, lasted_s in ((patient, 150.0), (eager, 3_000.0)):
        at_s = 0.0
        for _ in range(5):
            quiet.look(at_s, at_s + 5, asked=True)
            quiet.look(at_s + 5, at_s + 10, asked=False)
            at_s += lasted_s
        quiet.look(at_s, at_s + 5, asked=True)
        quiet.look(at_s + 5, at_s + 10, asked=False)
        assert quiet.is_worth_leaving(at_s + 5 + 70, 60.0) is (quiet is eager)
    assert Quiet().is_worth_leaving(1e9, 60.0) is False
