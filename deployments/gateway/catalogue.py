"""Which models exist, whether or not a replica of them is ready."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cluster.autoscaler.cold_start import PRIOR_S
from deployments.gateway.routing.score import Slo

DEFAULT_SLO = Slo(ttft_ms=2_000, tpot_ms=100)


@dataclass(frozen=True, slots=True)
class Wake:
    """How long a request waits for a replica, and how many wait at one gateway."""

    max_wait_s: float
    max_waiting: int


@dataclass(frozen=True, slots=True)
class Scaling:
    """What state knows of replicas to come and to go.

    `reluctant`: those that Serve will end next. `cold_start_s`: what a start took of late. `asked_at_s`: when replicas
    that are not ready yet were asked for, by the wall clock; None if there are none.
    """

    reluctant: frozenset[str] = frozenset()
    cold_start_s: float = PRIOR_S
    asked_at_s: float | None = None

    def expected_wait_s(self, now_s: float) -> float:
        """Until a replica is ready. One that is overdue is expected any moment."""
        begun_s = 0.0 if self.asked_at_s is None else max(0.0, now_s - self.asked_at_s)
        return max(0.0, self.cold_start_s - begun_s)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What clients may know of a model. `not_ready` says why no replica can answer yet, in words.

    `wake` is None for a model that always has replicas: a request never waits for one.
    """

    name: str
    engine: str
    max_model_len: int | None = None
    not_ready: str = ""
    slo: Slo = DEFAULT_SLO
    wake: Wake | None = None
    scaling: Scaling = Scaling()


class Catalogue:
    """The last snapshot of the state deployment; it outlives state's absence."""

    def __init__(self) -> None:
        self._models: Mapping[str, ModelCard] = MappingProxyType({})

    def replace(self, models: Mapping[str, ModelCard]) -> None:
        self._models = MappingProxyType(dict(models))

    def get(self, name: str) -> ModelCard | None:
        return self._models.get(name)

    def names(self) -> tuple[str, ...]:
        return tuple(self._models)

    def cards(self) -> tuple[ModelCard, ...]:
        return tuple(self._models.values())
