"""Which models exist, whether or not a replica of them is ready."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from deployments.gateway.routing.score import Slo

DEFAULT_SLO = Slo(ttft_ms=2_000, tpot_ms=100)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What clients may know of a model. `not_ready` says why no replica can answer yet, in words."""

    name: str
    engine: str
    max_model_len: int | None = None
    not_ready: str = ""
    slo: Slo = DEFAULT_SLO


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
