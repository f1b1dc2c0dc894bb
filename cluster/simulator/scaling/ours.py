"""The autoscaler itself, shown what gateways know."""

from cluster.autoscaler.autoscaler import Autoscaler
from cluster.autoscaler.capacity import Promise, Shape, Speed
from cluster.autoscaler.cold_start import ColdStart
from cluster.autoscaler.decision import Decision, Goal, Limits, Observation
from cluster.simulator.scaling.run import Site
from cluster.simulator.scaling.snapshot import Snapshot, met

REMEMBERED_REQUESTS = 200.0


class Baryon:
    """`decisions`: all that were made, in order."""

    def __init__(self, site: Site) -> None:
        counts = site.workload.protocol.replicas
        promise = Promise(site.slo.ttft_ms, site.slo.tpot_ms)
        self._site = site
        self._autoscaler = Autoscaler(Goal(promise, Limits(counts.min, counts.max)), ColdStart())
        self._prefill_ms = self._prefill_ms_squared = self._context_tokens = 0.0
        self._requests = 0.0
        self.decisions: list[Decision] = []

    def initial(self) -> int:
        return self._site.workload.protocol.replicas.initial

    def ready(self, cold_start_s: float) -> None:
        self._autoscaler.cold_start.took(cold_start_s)

    def desired(self, seen: Snapshot) -> int:
        router = self._site.router
        speed = router.estimator.of("none yet", seen.now_s * 1000)
        outputs = router.estimator.output_tokens
        for asked in seen.began:
            prefill_ms = speed.prefill_ms(asked.input_tokens, router.estimator.hit_rate * asked.input_tokens)
            self._remember(prefill_ms, asked.input_tokens + outputs / 2)
        shape = Shape(self._prefill_ms, self._prefill_ms_squared, outputs, self._context_tokens)
        finished = len(seen.finished)
        observed = Observation(
            now_s=seen.now_s,
            since_s=seen.since_s,
            arrived_requests=len(seen.began),
            shape=shape,
            speed=Speed(speed.step_ms, speed.step_ms_per_sequence, speed.step_ms_per_ktoken),
            cache_tokens=self._site.profile.kv_capacity_tokens,
            waiting_ms=seen.waiting_requests * self._prefill_ms,
            running=seen.running,
            starting=seen.starting,
            leaving=seen.leaving,
            finished_requests=finished,
            attained=sum(met(request, self._site.slo) for request in seen.finished) / finished if finished else 1.0,
        )
        self.decisions.append(self._autoscaler.decide(observed))
        return self.decisions[-1].desired

    def _remember(self, prefill_ms: float, context_tokens: float) -> None:
        self._requests = min(REMEMBERED_REQUESTS, self._requests + 1)
        part = 1 / self._requests
        self._prefill_ms += part * (prefill_ms - self._prefill_ms)
        self._prefill_ms_squared += part * (prefill_ms**2 - self._prefill_ms_squared)
        self._context_tokens += part * (context_tokens - self._context_tokens)
