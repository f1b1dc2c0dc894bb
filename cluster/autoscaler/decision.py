"""What the autoscaler sees at one moment, and what it decides then, with its reason: kept, so that it can be read."""

from dataclasses import dataclass

from cluster.autoscaler.capacity import Promise
from cluster.autoscaler.demand import Demand


@dataclass(frozen=True, slots=True)
class Limits:
    """Replicas: at least `least`, at most `most`."""

    least: int
    most: int

    def clip(self, replicas: int) -> int:
        return max(self.least, min(self.most, replicas))


@dataclass(frozen=True, slots=True)
class Observation:
    """One model, since the last look. Times in seconds of one clock.

    `cache_tokens`: what the KV cache of a replica holds. `running`: replicas that serve; `starting`: asked for and not
    ready; `leaving`: still draining.
    """

    now_s: float
    since_s: float
    demand: Demand
    cache_tokens: float
    running: int
    starting: int
    leaving: int

    @property
    def attained(self) -> float:
        """The share of finished requests that met the SLO."""
        demand = self.demand
        return demand.met_requests / demand.finished_requests if demand.finished_requests else 1.0


@dataclass(frozen=True, slots=True)
class Decision:
    """`load` and `forecast_load` are replicas kept busy, now and when a replica asked for now would serve;
    `bearable_load` is what one replica bears within the SLO, and `bound` what stops it there.
    """

    now_s: float
    running: int
    starting: int
    leaving: int
    desired: int
    load: float
    forecast_load: float
    bearable_load: float
    bound: str
    cold_start_s: float
    attained: float
    reason: str


@dataclass(frozen=True, slots=True)
class Goal:
    """What the model is promised, and between how many replicas that is to be kept."""

    promise: Promise
    limits: Limits
