"""Step 3: may it enter now? A pure decision over what this gateway knows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deployments.gateway.catalogue import ModelCard
from deployments.gateway.errors import at_capacity, not_ready
from deployments.gateway.replica_table import ReplicaInfo
from deployments.gateway.routing.choice import Candidate

STARTING_RETRY_S = 5
FULL_RETRY_S = 1


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """A replica and what this gateway has in flight there."""

    replica: ReplicaInfo
    requests: int
    prompt_tokens: int


def admit(card: ModelCard, loads: Sequence[ReplicaLoad], suspect: Collection[str]) -> list[Candidate]:
    """The replicas that may take one more request. A suspect one only when there is no other.

    Raises:
        GatewayError: 503 when no replica is ready, or all are full; never a wait without an end.
    """
    if not loads:
        raise not_ready(card.name, card.not_ready or "no replica is running.", STARTING_RETRY_S)
    with_room = [load for load in loads if load.requests < load.replica.max_in_flight]
    trusted = [load for load in with_room if load.replica.replica_id not in suspect] or with_room
    if not trusted:
        raise at_capacity(card.name, FULL_RETRY_S)
    return [Candidate(load.replica.replica_id, load.prompt_tokens, load.requests) for load in trusted]
