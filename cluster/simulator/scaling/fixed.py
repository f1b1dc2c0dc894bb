"""Baselines that know what is coming: a constant count, and an oracle."""

import math

from cluster.autoscaler.capacity import Promise, Shape, Speed, bearable
from cluster.simulator.scaling.run import TICK_S, Site
from cluster.simulator.scaling.snapshot import Snapshot
from engine.simulated.step_time import StepLoad, prefill_mpairs

DRAWN = 2_000
RATE_STEP_S = 5.0


def exact_capacity_rps(site: Site) -> float:
    """Requests per second that a replica bears, from the protocol's own lengths and the profile's own step time."""
    step, drawn = site.profile.step_time, []
    for request, _ in zip(site.workload.requests(site.seed), range(DRAWN), strict=False):
        hit = round(site.workload.protocol.prefix_hit_rate * request.input_tokens)
        uncached = request.input_tokens - hit
        idle_ms = step.of(StepLoad(0, 0.0, 0))
        prefill_ms = step.of(StepLoad(uncached, prefill_mpairs(uncached, hit), 0)) - idle_ms
        drawn.append((prefill_ms, request.output_tokens, request.input_tokens + request.output_tokens / 2))
    if not drawn:
        return math.inf
    count = len(drawn)
    shape = Shape(
        prefill_ms=sum(ms for ms, _, _ in drawn) / count,
        prefill_ms_squared=sum(ms**2 for ms, _, _ in drawn) / count,
        output_tokens=sum(tokens for _, tokens, _ in drawn) / count,
        context_tokens=sum(tokens * context for _, tokens, context in drawn) / sum(tokens for _, tokens, _ in drawn),
    )
    speed = Speed(step.c0_ms + step.host_ms, step.c_low_ms, step.c_kv_ms)
    promise = Promise(site.slo.ttft_ms, site.slo.tpot_ms)
    return bearable(shape, speed, promise, site.profile.kv_capacity_tokens).requests_per_s


class Static:
    """As many as the mean rate needs, or the highest."""

    def __init__(self, site: Site, *, peak: bool) -> None:
        protocol = site.workload.protocol
        rates = [rate for _, begin, end in protocol.segments for rate in (begin, end)]
        mean = sum(seconds * (begin + end) / 2 for seconds, begin, end in protocol.segments) / protocol.seconds
        self._replicas = math.ceil((max(rates) if peak else mean) / exact_capacity_rps(site))

    def initial(self) -> int:
        return self._replicas

    def desired(self, _seen: Snapshot) -> int:
        return self._replicas

    def ready(self, cold_start_s: float) -> None: ...


class Oracle:
    """Knows the rate at any time, and asks for replicas a cold start ahead. It gives up none that it needs again."""

    def __init__(self, site: Site) -> None:
        self._protocol = site.workload.protocol
        self._capacity_rps = exact_capacity_rps(site)

    def initial(self) -> int:
        return self._needed(0.0)

    def desired(self, seen: Snapshot) -> int:
        return self._needed(seen.now_s)

    def ready(self, cold_start_s: float) -> None: ...

    def _needed(self, now_s: float) -> int:
        steps = int((self._protocol.cold_start_s + 2 * TICK_S) / RATE_STEP_S) + 1
        most = max(self._protocol.rate_at(now_s + RATE_STEP_S * step) for step in range(steps))
        return math.ceil(most / self._capacity_rps)
