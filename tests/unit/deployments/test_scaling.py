"""All models' counts, decided in one place: what gateways told in, what Serve and gateways are to do out."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cluster.autoscaler.capacity import Promise, Shape, Speed
from cluster.autoscaler.decision import Limits
from cluster.autoscaler.demand import Demand
from deployments.scaled_model import MOVED_OFF_WITHIN_S, SILENT_GATEWAY_S, ScalingCard
from deployments.scaling import Scaling, Site
from deployments.scaling_store import ScalingStore
from deployments.usage_log import Bin, UsageLog, bins

TICK_S = 5.0
QUIET = Demand(
    arrived_requests=0,
    finished_requests=0,
    met_requests=0,
    waiting_requests=0,
    waiting_ms=0.0,
    shape=Shape(prefill_ms=220, prefill_ms_squared=70_000, output_tokens=400, context_tokens=4_200),
    speed=Speed(step_ms=15, step_ms_per_sequence=0.03, step_ms_per_ktoken=0.04),
    remembered_requests=100.0,
)
BUSY = replace(QUIET, arrived_requests=round(6 * TICK_S), finished_requests=30, met_requests=30)
WAITING = replace(QUIET, arrived_requests=1, waiting_requests=1)
CHAT = ScalingCard("chat", "chat-app", Promise(2_000, 100), Limits(1, 8), {"GPU": 1.0, "CPU": 1.0}, priority=0)
ZERO = replace(CHAT, model="rare", application="rare-app", limits=Limits(0, 2))


@dataclass(frozen=True)
class Kept:
    store: ScalingStore
    usage: UsageLog
    usage_path: Path


class World:
    """State's loop without Ray. Replicas become ready `cold_s` after they were asked for, as Serve would start them."""

    def __init__(self, kept: Kept, *cards: ScalingCard, gpus: float = 16, cold_s: float = 20) -> None:
        self.now_s, self.cold_s = 1_000.0, cold_s
        self.site = Site({"GPU": gpus}, "head")
        self.scaling = Scaling(kept.store, kept.usage, {})
        self.cards = cards
        self.scaling.replace_models(cards, self.now_s, self.scaling.newcomers(cards, self.now_s, {}))
        self.rows: dict[str, list[dict[str, Any]]] = {card.model: [] for card in cards}
        self.born = 0
        self.comes = True
        for card in cards:
            for _ in range(card.limits.least):
                self._start(card.model, self.now_s - cold_s)
        self.run_serve()

    def step(self, **demands: Demand) -> dict[str, int]:
        self.now_s += TICK_S
        self.run_serve()
        self.scaling.tell("g", demands, self.now_s)
        self.scaling.decide(self.site, self.now_s)
        self.run_serve()
        return self.counts()

    def counts(self) -> dict[str, int]:
        return {card.model: self.scaling.targets()[card.application] for card in self.cards}

    def run(self, seconds: float, **demands: Demand) -> dict[str, int]:
        return [self.step(**demands) for _ in range(int(seconds / TICK_S))][-1]

    def _start(self, model: str, asked_s: float) -> None:
        self.born += 1
        row = {"replica_id": f"{model}-{self.born}", "model": model, "node_id": "head", "started_at_s": asked_s}
        self.rows[model].append(row | {"stage": "load", "stages": {}, "kv_cache_tokens": 240_000})

    def run_serve(self) -> None:
        for model, wanted in self.counts().items():
            rows = self.rows[model]
            for _ in range(wanted - len(rows)):
                self._start(model, self.now_s)
            del rows[wanted:]
            for row in rows:
                if self.comes and row["stage"] == "load" and self.now_s - row["started_at_s"] >= self.cold_s:
                    row |= {"stage": "ready", "stages": {"load": self.cold_s}}
        self.scaling.see_replicas([row for rows in self.rows.values() for row in rows])


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(
        ScalingStore(tmp_path / "state.sqlite"),
        UsageLog(tmp_path / "usage.sqlite", now_s=lambda: 1_000.0),
        tmp_path / "usage.sqlite",
    )
    yield kept
    kept.store.close()
    kept.usage.close()


def test_more_demand_brings_more_replicas_and_less_takes_them_away(kept: Kept) -> None:
    world = World(kept, CHAT)
    most = world.run(120, chat=BUSY)["chat"]
    assert most > 2
    assert world.run(900, chat=QUIET)["chat"] == 1


def test_every_decision_is_kept_with_what_it_saw_and_why(kept: Kept) -> None:
    world = World(kept, CHAT)
    world.run(60, chat=BUSY)
    changes = kept.store.decisions("chat", 50, changes_only=True)
    first = changes[-1]
    assert (first["was"], first["granted"] > 1) == (1, True)
    assert first["reason"]
    assert first["load"] > 0
    assert first["forecast_load"] > 0
    assert 0 < first["bearable_load"] <= 1.2
    assert len(kept.store.decisions("chat", 50)) == 60 / TICK_S


def test_a_request_for_a_model_at_zero_wakes_it_at_once(kept: Kept) -> None:
    world = World(kept, ZERO)
    assert world.run(30, rare=QUIET) == {"rare": 0}
    assert world.scaling.tell("g", {"rare": WAITING}, world.now_s)
    world.scaling.wake(world.site, world.now_s)
    assert world.counts() == {"rare": 1}
    assert not world.scaling.tell("g", {"rare": WAITING}, world.now_s)
    assert kept.store.decisions("rare", 1)[0]["reason"] == "a request waits"


def test_a_model_that_was_woken_goes_back_to_zero_when_it_is_quiet(kept: Kept) -> None:
    world = World(kept, ZERO, cold_s=40)
    world.scaling.tell("g", {"rare": WAITING}, world.now_s)
    world.scaling.wake(world.site, world.now_s)
    assert world.run(120, rare=BUSY)["rare"] >= 1
    assert world.run(600, rare=QUIET)["rare"] == 0
    assert world.run(600, rare=QUIET)["rare"] == 0


def test_gateways_learn_how_long_a_start_takes_and_since_when_one_is_awaited(kept: Kept) -> None:
    world = World(kept, ZERO, cold_s=40)
    world.scaling.tell("g", {"rare": WAITING}, world.now_s)
    world.scaling.wake(world.site, world.now_s)
    world.run_serve()
    asked_s = world.now_s
    assert world.scaling.view()["rare"]["asked_at_s"] == asked_s
    world.run(60, rare=replace(QUIET, arrived_requests=2))
    assert world.scaling.view()["rare"] == {"reluctant": [], "cold_start_s": 40, "asked_at_s": None}
    assert kept.store.cold_starts("rare") == [40.0]


def test_a_restart_of_state_keeps_counts_and_cold_starts(kept: Kept) -> None:
    world = World(kept, CHAT)
    before = world.run(120, chat=BUSY)["chat"]
    again = Scaling(kept.store, kept.usage, world.scaling.targets())
    again.replace_models([CHAT], world.now_s, again.newcomers([CHAT], world.now_s, {}))
    assert again.targets() == {"chat-app": before}
    assert again.view()["chat"]["cold_start_s"] == 20


def test_load_is_moved_off_the_replica_that_goes_before_it_goes(kept: Kept) -> None:
    """Serve takes the newest; it is kept while it has requests, but not longer than half a minute."""
    world = World(kept, CHAT)
    full = world.run(120, chat=BUSY)["chat"]
    newest = world.rows["chat"][-1]["replica_id"]
    on_newest = replace(QUIET, in_flight={newest: 1})
    while not world.scaling.view()["chat"]["reluctant"]:
        assert world.step(chat=on_newest)["chat"] == full
    assert world.scaling.view()["chat"]["reluctant"] == [newest]
    began_s = world.now_s
    while world.step(chat=on_newest)["chat"] == full:
        assert world.now_s - began_s <= MOVED_OFF_WITHIN_S
    assert world.now_s - began_s >= MOVED_OFF_WITHIN_S - TICK_S
    following = world.rows["chat"][-1]["replica_id"]
    while world.scaling.view()["chat"]["reluctant"] != [following]:
        world.step(chat=QUIET)
    assert world.step(chat=QUIET)["chat"] == full - 2


def test_a_replica_that_is_to_go_stays_if_demand_comes_back(kept: Kept) -> None:
    world = World(kept, CHAT)
    full = world.run(120, chat=BUSY)["chat"]
    holding = replace(QUIET, in_flight={row["replica_id"]: 1 for row in world.rows["chat"]})
    while not world.scaling.view()["chat"]["reluctant"]:
        world.step(chat=holding)
    world.step(chat=replace(BUSY, arrived_requests=2 * BUSY.arrived_requests))
    assert world.scaling.view()["chat"]["reluctant"] == []
    assert world.counts()["chat"] >= full


def test_a_higher_priority_takes_gpus_from_a_lower_one(kept: Kept) -> None:
    batch = replace(CHAT, model="batch", application="batch-app")
    first = replace(CHAT, priority=10)
    world = World(kept, batch, first, gpus=4)
    world.run(120, batch=BUSY, chat=QUIET)
    assert world.counts() == {"batch": 3, "chat": 1}
    world.run(300, batch=BUSY, chat=BUSY)
    assert world.counts() == {"batch": 1, "chat": 3}
    assert "'chat' (priority 10)" in kept.store.decisions("batch", 1)[0]["reason"]


def test_silence_of_gateways_is_not_a_lack_of_demand(kept: Kept) -> None:
    world = World(kept, CHAT)
    before = world.run(120, chat=BUSY)
    assert world.run(3_600) == before
    assert kept.store.decisions("chat", 1)[0]["attained"] == 1.0


def test_what_a_gateway_that_died_had_is_forgotten(kept: Kept) -> None:
    world = World(kept, ZERO)
    world.scaling.tell("dead", {"rare": WAITING}, world.now_s)
    world.run(SILENT_GATEWAY_S, rare=QUIET)
    before = world.counts()["rare"]
    assert world.run(1_200, rare=QUIET)["rare"] == 0
    assert before <= 1


def test_a_policy_that_fails_leaves_its_count_and_no_other_model_feels_it(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(CHAT, model="other", application="other-app")
    world = World(kept, CHAT, other)

    def fail(_seen: object) -> object:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(world.scaling.models()["chat"].autoscaler, "decide", fail)
    counts = world.run(120, chat=BUSY, other=BUSY)
    assert counts["chat"] == 1
    assert counts["other"] > 2
    assert "the policy failed" in kept.store.decisions("chat", 1)[0]["reason"]


def test_no_more_are_asked_for_while_one_does_not_become_ready(kept: Kept) -> None:
    world = World(kept, CHAT)
    world.run(60, chat=QUIET)
    world.comes = False
    stuck = world.run(300, chat=replace(BUSY, arrived_requests=15))
    assert world.run(600, chat=replace(BUSY, arrived_requests=60)) == stuck
    assert "is not ready yet" in kept.store.decisions("chat", 1)[0]["reason"]


def test_an_slo_that_no_replica_can_meet_leaves_the_count_and_says_so(kept: Kept) -> None:
    world = World(kept, replace(CHAT, promise=Promise(50, 100)))
    assert world.run(120, chat=BUSY)["chat"] == 1
    assert "one request alone misses the SLO" in kept.store.decisions("chat", 1)[0]["reason"]


def test_a_full_replica_does_not_prove_that_the_slo_cannot_be_met(kept: Kept) -> None:
    """Its tokens take 150 ms beside nineteen others; what they take alone is not known."""
    world = World(kept, CHAT)
    full = replace(BUSY, met_requests=0, speed=Speed(150, 0.03, 0.04), in_flight={"chat-1": 20})
    assert world.run(60, chat=full)["chat"] > 2


def test_new_limits_hold_at_once(kept: Kept) -> None:
    world = World(kept, CHAT)
    world.run(120, chat=BUSY)
    world.scaling.replace_models([replace(CHAT, limits=Limits(1, 2))], world.now_s, {})
    assert world.counts()["chat"] == 2
    world.scaling.replace_models([replace(CHAT, limits=Limits(5, 8))], world.now_s, {})
    assert world.counts()["chat"] == 5


def test_fifty_models_are_decided_in_less_time_than_passes(kept: Kept) -> None:
    """Not a benchmark: a bound that only a mistake of order would break. The loop has five seconds."""
    cards = [replace(CHAT, model=f"m{i}", application=f"a{i}") for i in range(50)]
    world = World(kept, *cards, gpus=100)
    demands = {card.model: BUSY for card in cards}
    world.run(120, **demands)
    began_s = time.process_time()
    world.step(**demands)
    assert time.process_time() - began_s < TICK_S / 2


def test_what_was_asked_for_is_in_the_usage_log_to_the_request(kept: Kept) -> None:
    world = World(kept, CHAT)
    world.run(60, chat=replace(BUSY, sampled=[(1_000, 200, 50)]))
    world.run(60, chat=QUIET)
    written = list(bins(kept.usage_path, "chat", 0.0, world.now_s))
    assert sum(told.requests for told in written) == 60 / TICK_S * BUSY.arrived_requests
    assert sum(told.seconds for told in written) == 120
    assert written[0].sampled == ((1_000, 200, 50), (1_000, 200, 50))


def test_a_disk_that_is_full_stops_no_scaling(kept: Kept) -> None:
    world = World(kept, CHAT)
    kept.store.close()
    kept.usage.close()
    assert world.run(120, chat=BUSY)["chat"] > 2


def test_after_a_restart_the_same_time_yesterday_is_known(kept: Kept) -> None:
    """A rush that came yesterday is prepared for before it comes, by a state that has never seen one."""
    rush_s = 100_000.0
    past = [Bin(rush_s - 7_200, 7_200, 0), Bin(rush_s, 1_800, 6 * 1_800)]
    asked: dict[bool, float] = {}
    for remembers in (True, False):
        scaling = Scaling(kept.store, kept.usage, {})
        now_s = rush_s - 600 + 86_400
        new = scaling.newcomers([CHAT], now_s, {"chat": past} if remembers else {})
        scaling.replace_models([CHAT], now_s, new)
        now_s = rush_s - 600 + 86_400
        for _ in range(110):
            now_s += TICK_S
            scaling.tell("g", {"chat": replace(QUIET, arrived_requests=1)}, now_s)
            scaling.decide(Site({"GPU": 16}, "head"), now_s)
        asked[remembers] = scaling.decided["chat"].forecast_load
    assert asked[True] > 2 * asked[False]


def test_what_gateways_kept_while_state_was_away_is_no_rush(kept: Kept) -> None:
    """A minute's requests in one report are a minute's."""
    world = World(kept, CHAT)
    steady = replace(QUIET, arrived_requests=round(0.5 * TICK_S))
    before = world.run(300, chat=steady)["chat"]
    minute = replace(steady, arrived_requests=12 * steady.arrived_requests, seconds=60.0)
    world.step(chat=minute)
    assert world.run(60, chat=steady)["chat"] == before
