"""What the autoscaler sees at one moment, and what it decides then, with its reason: kept, so that it can be read."""

from dataclasses import dataclass

from cluster.autoscaler.capacity import Promise, Shape, Speed


@dataclass(frozen=True, slots=True)
class Limits:
    """Replicas: at least `least`, at most `most`."""

    least: int
    most: int

    def clip(self, replicas: int) -> int:
        return max(self.least, min(self.most, replicas))


@dataclass(frozen=True, slots=True)
class Observation:
    """One model, since the last look. Times in seconds of one clock; work in milliseconds of one replica.

    `arrived_requests` is what came, served or not; `shape` an average request of late. `waiting_ms`: prefill work that
    waits in gateways and replicas. `running`: replicas that serve; `starting`: asked for and not ready; `leaving`:
    still draining. `attained`: the share of finished requests that met the SLO, of `finished_requests`.
    """

    now_s: float
    since_s: float
    arrived_requests: float
    shape: Shape
    speed: Speed
    cache_tokens: float
    waiting_ms: float
    running: int
    starting: int
    leaving: int
    finished_requests: int
    attained: float


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
