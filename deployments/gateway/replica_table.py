"""Which replicas of each model can take requests."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """A ready replica: where its engine listens, what opens it, how many requests it holds at once.

    One that `is_leaving` has left Serve's list a moment ago and gets new requests only if there is no other.
    """

    replica_id: str
    url: str
    token: str = field(repr=False)
    max_in_flight: int
    max_model_len: int
    engine: str = "vllm"
    kv_cache_tokens: int | None = None
    is_leaving: bool = False
    node_id: str = ""
    tensor_parallel_size: int = 1


class ReplicaTable:
    """Replicas by model, as membership last reported them."""

    def __init__(self) -> None:
        self._replicas: dict[str, tuple[ReplicaInfo, ...]] = {}

    def update(self, model: str, replicas: Sequence[ReplicaInfo]) -> None:
        self._replicas[model] = tuple(replicas)

    def of(self, model: str) -> tuple[ReplicaInfo, ...]:
        return self._replicas.get(model, ())

    def all(self) -> dict[str, tuple[ReplicaInfo, ...]]:
        return dict(self._replicas)
