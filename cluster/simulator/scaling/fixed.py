"""Baselines that know what is coming: a constant count, and an oracle."""

from functools import cache

from cluster.autoscaler.capacity import Promise, Shape, Speed, bearable
from cluster.simulator.scaling.run import TICK_S, Site
from cluster.simulator.scaling.snapshot import Snapshot
from engine.simulated.step_time import StepLoad, prefill_mpairs

DRAWN = 2_000
RATE_STEP_S = 5.0


class ExactCapacity:
    """What replicas bear, from the workload's own lengths and the profile's own step time."""

    def __init__(self, site: Site) -> None:
        step = site.profile.step_time
        self._site, self._shape = site, _shape(site)
        self._speed = Speed(step.c0_ms + step.host_ms, step.c_low_ms, step.c_kv_ms)

    def one_rps(self, replicas: int = 1) -> float:
        """Requests per second on each of so many."""
        promise = Promise(self._site.slo.ttft_ms, self._site.slo.tpot_ms)
        cache_tokens = self._site.profile.kv_capacity_tokens
        return bearable(self._shape, self._speed, promise, cache_tokens, replicas).requests_per_s

    def needed(self, requests_per_s: float) -> int:
        """The fewest replicas that bear it, or the most that there may be."""
        most = self._site.workload.protocol.replicas.max
        return next((n for n in range(1, most) if n * self.one_rps(n) >= requests_per_s), most) if requests_per_s else 0


def _shape(site: Site) -> Shape:
    step, drawn = site.profile.step_time, []
    for request, _ in zip(site.workload.requests(site.seed), range(DRAWN), strict=False):
        hit = round(site.workload.protocol.prefix_hit_rate * request.input_tokens)
        uncached = request.input_tokens - hit
        idle_ms = step.of(StepLoad(0, 0.0, 0))
        prefill_ms = step.of(StepLoad(uncached, prefill_mpairs(uncached, hit), 0)) - idle_ms
        drawn.append((prefill_ms, request.output_tokens, request.input_tokens + request.output_tokens / 2))
    count = len(drawn)
    if not count:
        return Shape(0.0, 0.0, 0.0, 0.0)
    return Shape(
        prefill_ms=sum(ms for ms, _, _ in drawn) / count,
        prefill_ms_squared=sum(ms**2 for ms, _, _ in drawn) / count,
        output_tokens=sum(tokens for _, tokens, _ in drawn) / count,
        context_tokens=sum(tokens * context for _, tokens, context in drawn) / sum(tokens for _, tokens, _ in drawn),
    )


class Static:
    """As many as the mean rate needs, or the highest."""

    def __init__(self, site: Site, *, peak: bool) -> None:
        protocol = site.workload.protocol
        rates = [rate for _, begin, end in protocol.segments for rate in (begin, end)]
        mean = sum(seconds * (begin + end) / 2 for seconds, begin, end in protocol.segments) / protocol.seconds
        self._replicas = ExactCapacity(site).needed(max(rates) if peak else mean)

    def initial(self) -> int:
        return self._replicas

    def desired(self, _seen: Snapshot) -> int:
        return self._replicas

    def ready(self, cold_start_s: float) -> None: ...


class Oracle:
    """Knows the rate at any time, and asks for replicas a cold start ahead. It gives up none that it needs again."""

    def __init__(self, site: Site) -> None:
        self._protocol = site.workload.protocol
        self._needed_for = cache(ExactCapacity(site).needed)

    def initial(self) -> int:
        return self._needed(0.0)

    def desired(self, seen: Snapshot) -> int:
        return self._needed(seen.now_s)

    def ready(self, cold_start_s: float) -> None: ...

    def _needed(self, now_s: float) -> int:
        steps = int((self._protocol.cold_start_s + 2 * TICK_S) / RATE_STEP_S) + 1
        most = max(self._protocol.rate_at(now_s + RATE_STEP_S * step) for step in range(steps))
        return self._needed_for(most)
