"""The autoscaler itself, told what gateways tell it."""

from random import Random

from cluster.autoscaler.autoscaler import Autoscaler
from cluster.autoscaler.capacity import Promise
from cluster.autoscaler.cold_start import ColdStart
from cluster.autoscaler.decision import Decision, Goal, Limits, Observation
from cluster.autoscaler.forecast import DAY_S
from cluster.simulator.scaling.run import Site
from cluster.simulator.scaling.snapshot import Snapshot, met
from deployments.gateway.routing.demand_meter import DemandMeter


class Baryon:
    """`decisions`: all that were made, in order."""

    def __init__(self, site: Site) -> None:
        counts = site.workload.protocol.replicas
        promise = Promise(site.slo.ttft_ms, site.slo.tpot_ms)
        self._site = site
        self._meter = DemandMeter(site.router, Random(site.seed))  # noqa: S311
        goal = Goal(promise, Limits(counts.min, counts.max))
        self._autoscaler = Autoscaler(goal, ColdStart(), day_s=DAY_S / site.workload.speedup)
        for from_s, to_s, requests_per_s in site.workload.past:
            self._autoscaler.recall(from_s, to_s, requests_per_s)
        self.decisions: list[Decision] = []

    def initial(self) -> int:
        return self._site.workload.protocol.replicas.initial

    def ready(self, cold_start_s: float) -> None:
        self._autoscaler.cold_start.took(cold_start_s)

    def desired(self, seen: Snapshot) -> int:
        for asked in seen.began:
            self._meter.arrived(asked.input_tokens, seen.now_s * 1000)
        for request in seen.finished:
            self._meter.finished(met=met(request, self._site.slo))
        demand = self._meter.take(seen.unplaced_requests, seen.now_s * 1000)
        observed = Observation(
            now_s=seen.now_s,
            since_s=seen.since_s,
            demand=demand,
            cache_tokens=self._site.profile.kv_capacity_tokens,
            running=seen.running,
            starting=seen.starting,
            leaving=seen.leaving,
        )
        self.decisions.append(self._autoscaler.decide(observed))
        return self.decisions[-1].desired
