"""What a fairness run is, and the row it comes to."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.simulator.fairness.workload import HEAVY, LIGHT, Workload
from cluster.simulator.policies.baryon import Baryon
from cluster.simulator.policies.fair import Fair
from cluster.simulator.request import SimulatedRequest
from cluster.simulator.simulation import Fleet, PolicyFactory, simulate
from cluster.simulator.summary import percentile

ORDERS: dict[str, tuple[PolicyFactory, bool]] = {"alone": (Fair, True), "fifo": (Baryon, False), "fair": (Fair, False)}


@dataclass(frozen=True, slots=True)
class Run:
    """`order`: `fair`; `fifo`, where engines get all at once, first come first served; `alone`: the light tenant."""

    order: str
    workload: Workload
    fleet: Fleet
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """`tokens_per_s`: of both tenants, prompt and output, that were computed while requests came."""

    policy: str
    seed: int
    requests: int
    light_requests: int
    light_ttft_p50_ms: float
    light_ttft_p99_ms: float
    light_tpot_mean_ms: float
    heavy_ttft_p50_ms: float
    heavy_ttft_p99_ms: float
    tokens_per_s: float


def row_of(run: Run) -> Row:
    factory, alone = ORDERS[run.order]
    step = run.fleet.profile.step_time
    asked = run.workload.requests(step, run.fleet.replicas, run.seed, alone=alone)
    done = list(simulate(asked, run.fleet, factory, run.seed))
    light, heavy = ([r for r in done if r.tenant == tenant] for tenant in (LIGHT, HEAVY))
    light_ttft, heavy_ttft = (sorted(r.first_token_ms - r.arrived_ms for r in part) for part in (light, heavy))
    end_ms = run.workload.seconds * 1000
    return Row(
        policy=run.order,
        seed=run.seed,
        requests=len(done),
        light_requests=len(light),
        light_ttft_p50_ms=percentile(light_ttft, 0.5),
        light_ttft_p99_ms=percentile(light_ttft, 0.99),
        light_tpot_mean_ms=_mean_tpot_ms(light),
        heavy_ttft_p50_ms=percentile(heavy_ttft, 0.5),
        heavy_ttft_p99_ms=percentile(heavy_ttft, 0.99),
        tokens_per_s=sum(_tokens_until(end_ms, request) for request in done) / run.workload.seconds,
    )


def _mean_tpot_ms(requests: Iterable[SimulatedRequest]) -> float:
    tpot_ms = [(r.finished_ms - r.first_token_ms) / (r.output_tokens - 1) for r in requests if r.output_tokens > 1]
    return sum(tpot_ms) / len(tpot_ms) if tpot_ms else 0.0


def _tokens_until(end_ms: float, request: SimulatedRequest) -> float:
    """A prompt counts when its first token comes, the answer evenly until its end."""
    if request.first_token_ms > end_ms:
        return 0.0
    decode_ms = request.finished_ms - request.first_token_ms
    part = min(1.0, (end_ms - request.first_token_ms) / decode_ms) if decode_ms else 1.0
    return request.prompt_tokens + part * request.output_tokens
