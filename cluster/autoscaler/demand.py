"""What gateways know of a model's demand: each tells of its own requests, and together they are what there is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cluster.autoscaler.capacity import Shape, Speed

SAMPLED_AT_MOST = 64


@dataclass(frozen=True, slots=True)
class Demand:
    """One gateway's requests of one model since it told last; `waiting_…` and `in_flight` are of now.

    `arrived_requests`: all that came, also those that were refused. `met_requests`: of `finished_requests`, those that
    kept the SLO; what failed did not. `waiting_requests`: held until there is a replica. `waiting_ms`: prefill work
    that waits, held or at a replica, in milliseconds of one replica. `in_flight`: open requests by replica. `shape` and
    `speed` are averages of the last `remembered_requests`. `sampled`: some of the requests that finished, as prompt
    tokens, those of them that were cached, and output tokens. `seconds`: what time the sums are of; 0 if not known.
    """

    arrived_requests: int
    finished_requests: int
    met_requests: int
    waiting_requests: int
    waiting_ms: float
    shape: Shape
    speed: Speed
    remembered_requests: float
    in_flight: Mapping[str, int] = field(default_factory=dict)
    sampled: Sequence[tuple[int, int, int]] = ()
    seconds: float = 0.0

    def load(self, requests_per_s: float) -> float:
        """Replicas that such requests keep busy at this rate."""
        return self.shape.load(self.speed, requests_per_s)


def together(demands: Sequence[Demand]) -> Demand:
    """Of several gateways: sums, and averages weighted by what each remembers.

    Raises:
        ValueError: there is nothing to add up.
    """
    if not demands:
        raise ValueError("no demand was told")
    weights = [demand.remembered_requests or 1e-9 for demand in demands]
    in_flight: Counter[str] = Counter()
    for demand in demands:
        in_flight.update(demand.in_flight)
    return Demand(
        arrived_requests=sum(demand.arrived_requests for demand in demands),
        finished_requests=sum(demand.finished_requests for demand in demands),
        met_requests=sum(demand.met_requests for demand in demands),
        waiting_requests=sum(demand.waiting_requests for demand in demands),
        waiting_ms=sum(demand.waiting_ms for demand in demands),
        shape=mean_shape([demand.shape for demand in demands], weights),
        speed=mean_speed([demand.speed for demand in demands], weights),
        remembered_requests=sum(demand.remembered_requests for demand in demands),
        in_flight=dict(in_flight),
        sampled=tuple(request for demand in demands for request in demand.sampled),
        seconds=max(demand.seconds for demand in demands),
    )


def after(earlier: Demand | None, later: Demand) -> Demand:
    """One gateway's, told in two parts: sums of both, and what was true last.

    Whoever was turned away in the first part still wants a replica.
    """
    if earlier is None:
        return later
    return replace(
        later,
        arrived_requests=earlier.arrived_requests + later.arrived_requests,
        finished_requests=earlier.finished_requests + later.finished_requests,
        met_requests=earlier.met_requests + later.met_requests,
        waiting_requests=max(later.waiting_requests, min(1, earlier.waiting_requests)),
        sampled=(*earlier.sampled, *later.sampled)[-SAMPLED_AT_MOST:],
        seconds=earlier.seconds + later.seconds,
    )


def mean_shape(shapes: Sequence[Shape], weights: Sequence[float]) -> Shape:
    return Shape(
        prefill_ms=_mean([shape.prefill_ms for shape in shapes], weights),
        prefill_ms_squared=_mean([shape.prefill_ms_squared for shape in shapes], weights),
        output_tokens=_mean([shape.output_tokens for shape in shapes], weights),
        context_tokens=_mean([shape.context_tokens for shape in shapes], weights),
    )


def mean_speed(speeds: Sequence[Speed], weights: Sequence[float]) -> Speed:
    return Speed(
        step_ms=_mean([speed.step_ms for speed in speeds], weights),
        step_ms_per_sequence=_mean([speed.step_ms_per_sequence for speed in speeds], weights),
        step_ms_per_ktoken=_mean([speed.step_ms_per_ktoken for speed in speeds], weights),
    )


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
