"""What a run comes to: one row of figures per policy and seed, and intervals over seeds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster.simulator.request import SimulatedRequest
from deployments.gateway.routing.score import Slo


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one run. `slo_attainment` and `failed` are over all requests; the other figures over finished ones.

    TPOT is (E2E − TTFT)/(output − 1), over requests with two tokens or more. `prefix_hit_rate`: cached ÷ prompt tokens.
    """

    policy: str
    seed: int
    requests: int
    failed: int
    ttft_mean_ms: float
    ttft_p90_ms: float
    ttft_p99_ms: float
    tpot_mean_ms: float
    tpot_p90_ms: float
    e2e_mean_ms: float
    slo_attainment: float
    prefix_hit_rate: float
    rate_req_s: float


def summarise(policy: str, seed: int, requests: Iterable[SimulatedRequest], slo: Slo) -> Row:
    """Keeps three numbers per request."""
    ttft, tpot, e2e = [], [], []
    total = met = cached = prompt = 0
    last_ms = 0.0
    for request in requests:
        total += 1
        last_ms = max(last_ms, request.arrived_ms)
        if math.isnan(request.finished_ms):
            continue
        ttft_ms = request.first_token_ms - request.arrived_ms
        decode_ms = request.finished_ms - request.first_token_ms
        tpot_ms = decode_ms / (request.output_tokens - 1) if request.output_tokens > 1 else 0.0
        ttft.append(ttft_ms)
        e2e.append(ttft_ms + decode_ms)
        if request.output_tokens > 1:
            tpot.append(tpot_ms)
        met += ttft_ms <= slo.ttft_ms and tpot_ms <= slo.tpot_ms
        cached += request.cached_tokens
        prompt += request.prompt_tokens
    return Row(
        policy=policy,
        seed=seed,
        requests=total,
        failed=total - len(ttft),
        ttft_mean_ms=_mean(ttft),
        ttft_p90_ms=percentile(ttft, 0.9),
        ttft_p99_ms=percentile(ttft, 0.99),
        tpot_mean_ms=_mean(tpot),
        tpot_p90_ms=percentile(tpot, 0.9),
        e2e_mean_ms=_mean(e2e),
        slo_attainment=met / total if total else 0.0,
        prefix_hit_rate=cached / prompt if prompt else 0.0,
        rate_req_s=total / last_ms * 1000 if last_ms else 0.0,
    )


def percentile(values: Sequence[float], level: float) -> float:
    """Linear between ranks; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    position = level * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


STUDENT_T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def interval(values: list[float]) -> tuple[float, float]:
    """Mean over seeds and the half width of its 95 % confidence interval (Student's t); 0 for one seed."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, 0.0
    t = STUDENT_T_95.get(len(values) - 1, 1.96)
    return mean, t * statistics.stdev(values) / math.sqrt(len(values))


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else 0.0
