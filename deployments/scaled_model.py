"""One model under the autoscaler: what gateways told of it, how many replicas it has asked for, and which are to go."""

import logging
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.autoscaler.autoscaler import Autoscaler
from cluster.autoscaler.capacity import Promise
from cluster.autoscaler.cold_start import ColdStart
from cluster.autoscaler.decision import Decision, Goal, Limits, Observation
from cluster.autoscaler.demand import Demand, after, together
from cluster.autoscaler.next_to_go import Running
from deployments.usage_log import Bin

logger = logging.getLogger(__name__)

SILENT_GATEWAY_S = 15.0
MOVED_OFF_WITHIN_S = 30.0
NOT_PART_OF_A_START = ("download", "convert")
OVERDUE_COLD_STARTS = 3.0
UNKNOWN_CACHE_TOKENS = 1e12


@dataclass(frozen=True, slots=True)
class ScalingCard:
    """The part of a model's configuration that decides its count. `needs`: what a replica takes of the cluster."""

    model: str
    application: str
    promise: Promise
    limits: Limits
    needs: Mapping[str, float]
    priority: int

    @staticmethod
    def of(card: Mapping[str, Any]) -> "ScalingCard":
        """From the catalogue."""
        return ScalingCard(
            model=card["name"],
            application=card["application"],
            promise=Promise(**card["slo"]),
            limits=Limits(card["replicas"]["min"], card["replicas"]["max"]),
            needs=card["needs"],
            priority=card["priority"],
        )


class ScaledModel:
    """`target` is what Serve is told, `demand` what the last decision was made of. Times: wall clock, in seconds."""

    def __init__(self, card: ScalingCard, target: int, cold_starts_s: Sequence[float], now_s: float) -> None:
        self.card = card
        self.target = card.limits.clip(target)
        self.cold_start = ColdStart()
        for seconds in cold_starts_s:
            self.cold_start.took(seconds)
        self.autoscaler = Autoscaler(Goal(card.promise, card.limits), self.cold_start)
        self.running: dict[str, Running] = {}
        self.demand: Demand | None = None
        self.leaving = 0
        self.reluctant: tuple[str, ...] = ()
        self._cache_tokens = UNKNOWN_CACHE_TOKENS
        self._asked_s: deque[float] = deque()
        self._told: dict[str, tuple[float, Demand]] = {}
        self._has_news = False
        self._looked_s = self._logged_s = now_s
        self._unlogged: Demand | None = None
        self._moving_since_s = now_s

    @property
    def starting(self) -> int:
        return max(0, self.target - len(self.running))

    @property
    def asked_at_s(self) -> float | None:
        """Since when a replica is awaited that is not there yet."""
        return self._asked_s[0] if self._asked_s and self.starting else None

    def change_card(self, card: ScalingCard, now_s: float) -> None:
        """What was learned stays; a count outside the new limits moves into them."""
        self.card = card
        self.autoscaler.goal = Goal(card.promise, card.limits)
        within = card.limits.clip(self.target)
        self._asked_s.extend([now_s] * (within - self.target))
        self.target = within

    def tell(self, gateway_id: str, demand: Demand, now_s: float) -> None:
        _, earlier = self._told.get(gateway_id, (now_s, None))
        self._told[gateway_id] = now_s, after(earlier, demand)
        self._has_news = True

    def waits_at_zero(self) -> bool:
        """Requests are held, and no replica is even asked for."""
        return not self.target and any(demand.waiting_requests for _, demand in self._told.values())

    def requests_on(self, replica_ids: Collection[str]) -> int:
        return sum(demand.in_flight.get(one, 0) for _, demand in self._told.values() for one in replica_ids)

    def see_replicas(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """As they reported to state; the seconds that each start took which was asked for."""
        took = []
        for row in rows:
            if row["stage"] == "ready" and row["replica_id"] not in self.running:
                ready_s = row["started_at_s"] + sum(row["stages"].values())
                self.running[row["replica_id"]] = Running(self.card.model, row["replica_id"], row["node_id"], ready_s)
                took += self._has_started(row, ready_s)
            if row["kv_cache_tokens"]:
                self._cache_tokens = row["kv_cache_tokens"]
        ready = {row["replica_id"] for row in rows if row["stage"] == "ready"}
        self.running = {one: running for one, running in self.running.items() if one in ready}
        self.leaving = sum(row["stage"] == "drain" for row in rows)
        return took

    def woken(self, now_s: float) -> Decision:
        """One replica, at once: an irregular look would disturb the forecast."""
        return without_calculation(self._seen(together(self._demands()), now_s), 1, "a request waits")

    def decide(self, now_s: float) -> Decision | None:
        """None while no gateway has told anything since the last time: silence is not a lack of demand.

        A policy that fails leaves the count as it is, and says so.
        """
        self._told = {one: told for one, told in self._told.items() if now_s - told[0] < SILENT_GATEWAY_S}
        if not self._told or not self._has_news:
            return None
        self.demand = together(self._demands())
        seen = self._seen(self.demand, now_s)
        self._told = {one: (at_s, _levels_of(told)) for one, (at_s, told) in self._told.items()}
        self._has_news = False
        self._looked_s = now_s
        self._unlogged = after(self._unlogged, self.demand)
        try:
            decision = self.autoscaler.decide(seen)
        except Exception as error:
            logger.exception("the policy failed on %s", self.card.model)
            decision = without_calculation(seen, self.target, f"the policy failed ({error!r}), the count stays")
        return self._none_after_one_that_does_not_come(decision, now_s)

    def take_usage(self, least_s: float) -> Bin | None:
        """What came since the last time, once that is so long ago."""
        since_s, demand = self._logged_s, self._unlogged
        if demand is None or self._looked_s - since_s < least_s:
            return None
        self._logged_s, self._unlogged = self._looked_s, None
        return Bin(since_s, self._looked_s - since_s, demand.arrived_requests, demand.sampled)

    def settle(self, granted: int, going: Sequence[str], now_s: float) -> int:
        """Move the target to what is granted. Upwards at once; downwards once the replicas that Serve would take are
        idle, which gateways are told to make them: `going`, the first to go first.
        """
        if granted >= self.target:
            self.reluctant = ()
            self._asked_s.extend([now_s] * (granted - self.target))
            self.target = granted
            return self.target
        idle = max(granted, len(self.running))
        if idle < self.target:
            self._forget_asked(self.target - idle)
            self.target = idle
        reluctant = tuple(going[: self.target - granted])
        if reluctant != self.reluctant:
            self.reluctant, self._moving_since_s = reluctant, now_s
        elif not self.requests_on(reluctant) or now_s - self._moving_since_s >= MOVED_OFF_WITHIN_S:
            self.target, self.reluctant = granted, ()
        return self.target

    def _demands(self) -> list[Demand]:
        return [demand for _, demand in self._told.values()]

    def _seen(self, demand: Demand, now_s: float) -> Observation:
        return Observation(
            now_s=now_s,
            since_s=self._looked_s,
            demand=demand,
            cache_tokens=self._cache_tokens,
            running=min(self.target, len(self.running)),
            starting=self.starting,
            leaving=self.leaving,
        )

    def _has_started(self, row: Mapping[str, Any], ready_s: float) -> list[float]:
        """How long it took from being asked for; of the first ever, which nobody asked for, what another will take."""
        if self._asked_s:
            seconds = max(0.1, ready_s - self._asked_s.popleft())
        elif not self.cold_start.is_known:
            seconds = sum(spent for stage, spent in row["stages"].items() if stage not in NOT_PART_OF_A_START)
        else:
            return []
        self.cold_start.took(seconds)
        return [seconds]

    def _forget_asked(self, count: int) -> None:
        for _ in range(min(count, len(self._asked_s))):
            self._asked_s.pop()

    def _none_after_one_that_does_not_come(self, decision: Decision, now_s: float) -> Decision:
        asked_s = self.asked_at_s
        if asked_s is None or decision.desired <= self.target:
            return decision
        overdue_s = now_s - asked_s
        if overdue_s < OVERDUE_COLD_STARTS * self.cold_start.expected_s:
            return decision
        why = f"{decision.reason}; but one asked for {overdue_s:.0f} s ago is not ready yet, so no more are asked for"
        return replace(decision, desired=self.target, reason=why)


def without_calculation(seen: Observation, target: int, reason: str) -> Decision:
    """A decision without a calculation."""
    return Decision(
        now_s=seen.now_s,
        running=seen.running,
        starting=seen.starting,
        leaving=seen.leaving,
        desired=target,
        load=0.0,
        forecast_load=0.0,
        bearable_load=0.0,
        bound="",
        cold_start_s=0.0,
        attained=seen.attained,
        reason=reason,
    )


def _levels_of(demand: Demand) -> Demand:
    """What is still true of a demand whose sums were taken. Who waits is told anew every second."""
    return replace(
        demand,
        arrived_requests=0,
        finished_requests=0,
        met_requests=0,
        waiting_requests=0,
        sampled=(),
        seconds=0.0,
    )
