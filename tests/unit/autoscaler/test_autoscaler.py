"""How many replicas, and why."""

from dataclasses import replace

import pytest

from cluster.autoscaler.autoscaler import Autoscaler
from cluster.autoscaler.capacity import Promise, Shape, Speed, bearable
from cluster.autoscaler.cold_start import ColdStart
from cluster.autoscaler.decision import Decision, Goal, Limits, Observation
from cluster.autoscaler.demand import Demand
from cluster.autoscaler.forecast import DAY_S

SPEED = Speed(step_ms=15, step_ms_per_sequence=0.03, step_ms_per_ktoken=0.04)
CHAT = Shape(prefill_ms=220, prefill_ms_squared=70_000, output_tokens=400, context_tokens=4_200)
PROMISE = Promise(ttft_ms=2_000, tpot_ms=100)
CACHE_TOKENS = 240_000
DEMAND = Demand(
    arrived_requests=0,
    finished_requests=10,
    met_requests=10,
    waiting_requests=0,
    waiting_ms=0.0,
    shape=CHAT,
    speed=SPEED,
    remembered_requests=100.0,
)
ONE_REPLICA_RPS = bearable(CHAT, SPEED, PROMISE, CACHE_TOKENS).requests_per_s
INTERVAL_S = 5.0


class World:
    """Arrivals as even as can be; replicas come after `cold_s` and go at once."""

    def __init__(
        self, running: int, least: int = 1, most: int = 20, cold_s: float = 60.0, day_s: float = DAY_S
    ) -> None:
        self.cold_start = ColdStart(cold_s)
        self.autoscaler = Autoscaler(Goal(PROMISE, Limits(least, most)), self.cold_start, day_s)
        self.running, self.now_s, self.cold_s = running, 0.0, cold_s
        self.starting: list[float] = []
        self.decisions: list[Decision] = []

    def step(self, rate_rps: float, **changed: object) -> Decision:
        self.now_s += INTERVAL_S
        ready = [at_s for at_s in self.starting if at_s <= self.now_s]
        self.starting = [at_s for at_s in self.starting if at_s > self.now_s]
        self.running += len(ready)
        seen = Observation(
            now_s=self.now_s,
            since_s=self.now_s - INTERVAL_S,
            demand=replace(DEMAND, arrived_requests=round(rate_rps * INTERVAL_S), **changed),  # type: ignore[arg-type]
            cache_tokens=CACHE_TOKENS,
            running=self.running,
            starting=len(self.starting),
            leaving=0,
        )
        decision = self.autoscaler.decide(seen)
        have = self.running + len(self.starting)
        self.starting += [self.now_s + self.cold_s] * (decision.desired - have)
        self.running -= max(0, have - decision.desired)
        self.decisions.append(decision)
        return decision

    def run(self, rate_rps: float, seconds: float) -> Decision:
        return [self.step(rate_rps) for _ in range(int(seconds / INTERVAL_S))][-1]


def test_a_jump_asks_for_several_at_once_and_counts_those_that_start() -> None:
    """Six for what comes; what two leave undone until the others serve is worked off in as long again: four more
    at the most.
    """
    world = World(running=2)
    world.run(1.0 * ONE_REPLICA_RPS, 300)
    world.run(6.0 * ONE_REPLICA_RPS, 30)
    asked = world.decisions[-1].desired
    assert 6 <= asked <= 6 + (6 - 2)
    assert asked <= world.run(6.0 * ONE_REPLICA_RPS, 30).desired <= asked + 1


def test_a_ramp_is_met_ahead_of_demand() -> None:
    world = World(running=2, cold_s=100.0)
    world.run(1.2 * ONE_REPLICA_RPS, 300)
    short = 0
    for step in range(120):
        rate = (1.2 + 5 * step / 120) * ONE_REPLICA_RPS
        world.step(rate)
        short += world.running * ONE_REPLICA_RPS < rate
    assert short <= 15


def test_one_at_a_time_goes_and_only_after_a_cold_start_without_need() -> None:
    world = World(running=8)
    world.run(6 * ONE_REPLICA_RPS, 300)
    began_s, had = world.now_s, world.running
    world.run(1 * ONE_REPLICA_RPS, 900)
    drops = [d for d in world.decisions if d.now_s > began_s and d.desired < d.running + d.starting]
    assert all(d.running + d.starting - d.desired == 1 for d in drops)
    assert drops[0].now_s - began_s >= 60
    assert world.running == 2 < had
    assert "not needed" in drops[0].reason


def test_what_was_asked_for_last_serves_as_long_as_it_took_to_come() -> None:
    world = World(running=2)
    world.run(1.0 * ONE_REPLICA_RPS, 300)
    world.run(6.0 * ONE_REPLICA_RPS, 20)
    world.run(1.0 * ONE_REPLICA_RPS, 600)
    changes = [(d.now_s, d.desired - d.running - d.starting) for d in world.decisions]
    last_up_s = max(now_s for now_s, change in changes if change > 0)
    first_down_s = min(now_s for now_s, change in changes if change < 0)
    assert 120 <= first_down_s - last_up_s <= 200


@pytest.mark.slow
def test_a_steady_load_is_settled_on_and_never_comes_back_to_a_count_that_was_left() -> None:
    for part in range(10):
        world = World(running=5)
        world.run((3.0 + part / 10) * ONE_REPLICA_RPS, 3_600)
        counts = [decision.desired for decision in world.decisions]
        assert counts == sorted(counts, reverse=True) or counts == sorted(counts)


def test_what_waits_is_worked_off_in_time() -> None:
    calm, late = World(running=3), World(running=3)
    for world, waiting_ms in ((calm, 1_000.0), (late, 400_000.0)):
        world.run(2 * ONE_REPLICA_RPS, 120)
        world.step(2 * ONE_REPLICA_RPS, waiting_ms=waiting_ms)
    assert calm.decisions[-1].desired == 3
    assert late.decisions[-1].desired > 3
    assert late.decisions[-1].reason.startswith("work waits")


def test_a_spike_is_remembered_on_calm_and_not_multiplied_on_top_of_the_spike() -> None:
    world = World(running=1)
    for _ in range(2):
        world.run(0.6 * ONE_REPLICA_RPS, 400)
        calm = world.decisions[-1].desired
        high = world.run(3.0 * ONE_REPLICA_RPS, 400)
        assert high.desired <= 5
    assert calm >= 3


def test_a_replica_that_is_on_its_way_is_counted_for_what_waits() -> None:
    world = World(running=1)
    world.run(0.5 * ONE_REPLICA_RPS, 300)
    world.run(1.5 * ONE_REPLICA_RPS, 40)
    asked = world.decisions[-1].desired
    waiting_ms = 0.3 * 40_000
    assert world.step(1.5 * ONE_REPLICA_RPS, waiting_ms=waiting_ms).desired <= asked + 1


def test_limits_hold_and_are_told() -> None:
    world = World(running=2, least=2, most=4)
    decision = world.run(20 * ONE_REPLICA_RPS, 120)
    assert decision.desired == 4
    assert "limited to 4" in decision.reason
    assert world.run(0.0, 1_200).desired == 2


def test_an_slo_that_no_replica_keeps_changes_nothing_and_says_so() -> None:
    world = World(running=3)
    world.autoscaler.goal = Goal(Promise(100, 100), Limits(1, 20))
    decision = world.run(10 * ONE_REPLICA_RPS, 60)
    assert decision.desired == 3
    assert "no number of replicas" in decision.reason
    assert "TTFT" in decision.reason


def test_a_missed_slo_at_a_bearable_load_makes_a_replica_bear_less() -> None:
    world = World(running=4)
    before = world.run(2 * ONE_REPLICA_RPS, 120).bearable_load
    for _ in range(40):
        world.step(2 * ONE_REPLICA_RPS, met_requests=5)
    assert world.decisions[-1].bearable_load < 0.85 * before


@pytest.mark.parametrize("taken_s", [[30.0], [30.0, 31.0, 29.0, 300.0, 30.0, 30.0, 30.0, 30.0, 30.0, 30.0, 30.0]])
def test_cold_starts_are_learned_and_one_that_hung_does_not_count_for_all(taken_s: list[float]) -> None:
    cold_start = ColdStart()
    assert cold_start.expected_s == 120
    for seconds in taken_s:
        cold_start.took(seconds)
    assert cold_start.expected_s <= 31
