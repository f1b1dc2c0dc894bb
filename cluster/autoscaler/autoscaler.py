"""How many replicas a model is to have. Pure: no clock, no I/O, no Ray; the simulator runs this very code.

Up: as many as bear what nine of ten forecasts stay below when a replica asked for now would serve, or as many as work
off in time what will wait by then. Down: one at a time, once all that was needed in the time of two cold starts, and
all that is forecast for the next at the SLO's own level, would have been kept within 0.8 of the SLO without it: a
replica that is given up and wanted back costs a cold start, in which it is paid for and somebody waits, so nothing is
given up for less; and each time that one was wanted back so soon that it had better stayed, the next is waited for
twice as long. What was asked for last serves at least as long as it took to come. To zero: where that is allowed, once
it is quiet (see `quiet.py`); and back as soon as anybody asks.
"""

import math
from collections import deque
from dataclasses import replace

from cluster.autoscaler.capacity import Bearable, Promise, bearable
from cluster.autoscaler.cold_start import ColdStart
from cluster.autoscaler.decision import Decision, Goal, Observation
from cluster.autoscaler.demand import Demand
from cluster.autoscaler.forecast import DAY_S, Forecast
from cluster.autoscaler.quiet import Quiet
from cluster.autoscaler.usual import Usual

FORECAST_LEVEL = 0.9
WANTED_BACK_LEVEL = 0.5
LEAVING_PART = 0.8
LEAST_PATIENCE, MOST_PATIENCE, PATIENCE_KEPT = 2.0, 8.0, 0.95
NO_PROMISE = Promise(math.inf, math.inf)
ALONE = 2.0
LEAST_HORIZON_S = 60.0
TARGET_ATTAINED = LEAVING_LEVEL = 0.99
JUDGED_REQUESTS = 50
MOST_TRUST_LOST, TRUST_UP = 0.2, 1.01
LEAST_TRUST, MOST_TRUST = 0.6, 1.2


class Autoscaler:
    """One model's. `decide` is to be called at even times, a few seconds apart.

    `day_s`: what came so long ago comes again.
    """

    def __init__(self, goal: Goal, cold_start: ColdStart, day_s: float = DAY_S) -> None:
        self.goal = goal
        self.cold_start = cold_start
        self._forecast = Forecast(day_s)
        self._quiet = Quiet()
        self._usual = Usual()
        self._needed: deque[tuple[float, int]] = deque()
        self._trust = 1.0
        self._judged_requests = 0
        self._judged_met = 0.0
        self._late_until_s = -math.inf
        self._began_s = math.inf
        self._last_up_s = self._last_down_s = -math.inf
        self._patience = LEAST_PATIENCE
        self._asked_s: deque[float] = deque()

    def recall(self, from_s: float, to_s: float, requests_per_s: float) -> None:
        """What came in an earlier life, oldest first."""
        self._forecast.recall(from_s, to_s, requests_per_s, max(LEAST_HORIZON_S, self.cold_start.expected_s))

    def decide(self, seen: Observation) -> Decision:
        interval_s = max(1e-3, seen.now_s - seen.since_s, seen.demand.seconds)
        horizon_s = max(LEAST_HORIZON_S, self.cold_start.expected_s + interval_s)
        rate = seen.demand.arrived_requests / interval_s
        self._began_s = min(self._began_s, seen.since_s)
        self._forecast.add(seen.now_s, rate, max(1.0, seen.demand.arrived_requests) / interval_s**2, horizon_s)
        seen = replace(seen, demand=self._usual.of(seen.demand, self._forecast.mean(0.0) * horizon_s))
        self._quiet.look(seen.since_s, seen.now_s, asked=_is_asked(seen))
        load = seen.demand.load(rate)
        full = self._bearable(seen, self.goal.promise, seen.running)
        if full.load <= 0 and _crowd(seen) > ALONE:
            seen = replace(seen, demand=_as_if_alone(seen.demand, _crowd(seen)))
            full = self._bearable(seen, self.goal.promise, seen.running)
        if not seen.running + seen.starting and not self._wakes(seen, horizon_s):
            return self._decision(seen, self.goal.limits.clip(0), load, 0.0, full, "nobody asks")
        if full.load <= 0:
            return self._stay(seen, load, horizon_s, full)
        self._judge(seen, full, horizon_s)
        return self._choose(seen, load, horizon_s, full)

    def _wakes(self, seen: Observation, horizon_s: float) -> bool:
        return _is_asked(seen) or self._is_expected(horizon_s)

    def _is_expected(self, horizon_s: float) -> bool:
        """A request in the time of a horizon from now on."""
        return self._forecast.mean(horizon_s) * horizon_s >= 1

    def _may_sleep(self, seen: Observation, horizon_s: float) -> bool:
        quiet = self._quiet.is_worth_leaving(seen.now_s, self.cold_start.expected_s)
        return quiet and not self._is_expected(horizon_s)

    def _choose(self, seen: Observation, load: float, horizon_s: float, full: Bearable) -> Decision:
        bearable_load = self._trust * full.load
        have = seen.running + seen.starting
        while len(self._asked_s) > seen.starting:
            self._asked_s.popleft()
        level = WANTED_BACK_LEVEL if self._has_just_left(seen.now_s, horizon_s) else FORECAST_LEVEL
        ahead = max(self._ahead(seen, after_s, level) for after_s in (0.0, horizon_s))
        needed, to_catch_up = ahead / bearable_load, self._to_catch_up(seen, horizon_s)
        wanted = max(1, math.ceil(max(needed, to_catch_up)))
        kept = 0 if self._may_sleep(seen, horizon_s) else max(1, self._kept(seen, horizon_s))
        desired, reason = have, "enough"
        if wanted > have:
            desired, reason = wanted, "work waits" if to_catch_up > needed else "more is coming"
            more = self.goal.limits.clip(wanted) - have
            if more > 0:
                if self._has_just_left(seen.now_s, horizon_s):
                    self._patience = min(MOST_PATIENCE, 2 * self._patience)
                self._last_up_s = seen.now_s
                self._asked_s += [seen.now_s] * more
        elif kept < have and not seen.starting and not seen.leaving and self._has_served(seen.now_s, horizon_s):
            desired, reason = have - 1, f"not needed for {self._patience * horizon_s:.0f} s"
            self._last_down_s = seen.now_s
            self._patience = max(LEAST_PATIENCE, PATIENCE_KEPT * self._patience)
        clipped = self.goal.limits.clip(desired)
        if clipped != desired:
            reason += f"; limited to {clipped}"
        return self._decision(seen, clipped, load, ahead, full._replace(load=bearable_load), reason)

    def _bearable(self, seen: Observation, promise: Promise, replicas: int) -> Bearable:
        return bearable(seen.demand.shape, seen.demand.speed, promise, seen.cache_tokens, max(1, replicas))

    def _ahead(self, seen: Observation, after_s: float, level: float = FORECAST_LEVEL) -> float:
        """Replicas kept busy then. Rates are forecast and not loads: what an average request takes is still learned."""
        return seen.demand.load(self._forecast.quantile(after_s, level))

    def _has_just_left(self, now_s: float, horizon_s: float) -> bool:
        """A replica. It was given up by what was likely then, and is wanted back only by what is expected now."""
        return now_s - self._last_down_s < 2 * horizon_s

    def _has_served(self, now_s: float, horizon_s: float) -> bool:
        """What was asked for last as long as it took to come, and at first as long as its need was looked at."""
        return now_s - self._last_up_s >= 2 * horizon_s and now_s - self._began_s >= 2 * horizon_s

    def _to_catch_up(self, seen: Observation, horizon_s: float) -> float:
        """Replicas that work off, in the time of a horizon, what will wait for longer than promised when one asked for
        now would serve: replicas that do all they can, and not only what keeps the promise.
        """
        does = self._bearable(seen, NO_PROMISE, seen.running).load
        load, work_s, at_s = seen.demand.load(self._forecast.mean(0.0)), seen.demand.waiting_ms / 1000, seen.now_s
        serving, end_s = seen.running, seen.now_s + horizon_s
        ready_s = [min(end_s, max(seen.now_s, asked_s + horizon_s)) for asked_s in self._asked_s]
        for until_s in [*ready_s, end_s]:
            work_s = max(0.0, work_s + (load - serving * does) * (until_s - at_s))
            at_s, serving = until_s, serving + 1
        if work_s <= self._promised_s(serving - 1):
            return 0.0
        return (load + work_s / horizon_s) / does

    def _promised_s(self, replicas: int) -> float:
        """Work that may wait on so many without a first token that comes too late."""
        return max(1, replicas) * self.goal.promise.ttft_ms / 1000

    def _kept(self, seen: Observation, horizon_s: float) -> int:
        """What is needed within the stricter promise, at most of the last cold starts and of the next."""
        strict = self._bearable(seen, self.goal.promise.stricter(LEAVING_PART), seen.running - 1)
        most = max(self._ahead(seen, after_s, LEAVING_LEVEL) for after_s in (0.0, horizon_s))
        needed = math.ceil(most / (self._trust * strict.load)) if strict.load > 0 else self.goal.limits.most
        self._needed.append((seen.now_s, needed))
        while self._needed[0][0] < seen.now_s - self._patience * horizon_s:
            self._needed.popleft()
        return max(needed for _, needed in self._needed)

    def _judge(self, seen: Observation, full: Bearable, horizon_s: float) -> None:
        """Where the SLO is missed though the load was bearable, a replica bears less than was thought, by as much as is
        missed; back slowly. Requests that were there while work had to wait, or within a horizon after, say nothing of
        this.
        """
        load = seen.demand.load(self._forecast.mean(0.0))
        share = load / max(1, seen.running) / (self._trust * full.load)
        longest_s = seen.demand.shape.output_tokens * self.goal.promise.tpot_ms / 1000
        if share > 1 or seen.running == 0 or seen.demand.waiting_ms / 1000 > self._promised_s(seen.running):
            self._late_until_s = seen.now_s + horizon_s + longest_s
        if seen.now_s < self._late_until_s:
            self._judged_requests, self._judged_met = 0, 0.0
            return
        self._judged_requests += seen.demand.finished_requests
        self._judged_met += seen.demand.met_requests
        if self._judged_requests < JUDGED_REQUESTS:
            return
        missed = TARGET_ATTAINED - self._judged_met / self._judged_requests
        if missed > 0:
            self._trust = max(LEAST_TRUST, self._trust * (1 - min(MOST_TRUST_LOST, missed)))
            self._late_until_s = seen.now_s + horizon_s + longest_s
        elif self._trust < 1 or share > LEAVING_PART:
            self._trust = min(MOST_TRUST, TRUST_UP * self._trust)
        self._judged_requests, self._judged_met = 0, 0.0

    def _stay(self, seen: Observation, load: float, horizon_s: float, full: Bearable) -> Decision:
        have = self.goal.limits.clip(max(1, seen.running + seen.starting))
        if seen.running and not seen.starting and self._may_sleep(seen, horizon_s):
            have = self.goal.limits.clip(seen.running - 1)
        reason = f"one request alone misses the SLO ({full.bound}): no number of replicas keeps it"
        return self._decision(seen, have, load, self._ahead(seen, horizon_s), full, reason)

    def _decision(
        self, seen: Observation, desired: int, load: float, ahead: float, bears: Bearable, reason: str
    ) -> Decision:
        return Decision(
            now_s=seen.now_s,
            running=seen.running,
            starting=seen.starting,
            leaving=seen.leaving,
            desired=desired,
            load=load,
            forecast_load=ahead,
            bearable_load=bears.load,
            bound=bears.bound,
            cold_start_s=self.cold_start.expected_s,
            attained=seen.attained,
            reason=reason,
        )


def _crowd(seen: Observation) -> float:
    """Open requests for each replica."""
    return sum(seen.demand.in_flight.values()) / max(1, seen.running)


def _as_if_alone(demand: Demand, crowd: float) -> Demand:
    """What a token takes was learned from replicas that were never idle, and seems too long for any number of them.
    Alone it takes between that and its share of it, which only an idle replica can tell: the geometric mean.
    """
    return replace(demand, speed=replace(demand.speed, step_ms=demand.speed.step_ms / math.sqrt(crowd)))


def _is_asked(seen: Observation) -> bool:
    demand = seen.demand
    return bool(demand.arrived_requests or demand.waiting_requests or sum(demand.in_flight.values()))
