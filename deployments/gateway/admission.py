"""Step 3: may it enter now? A pure decision over what this gateway knows."""

from collections.abc import Callable, Collection, Sequence

from deployments.gateway.catalogue import ModelCard
from deployments.gateway.errors import at_capacity, not_ready
from deployments.gateway.replica_table import ReplicaInfo

STARTING_RETRY_S = 5
FULL_RETRY_S = 1


def admit(
    card: ModelCard, replicas: Sequence[ReplicaInfo], requests_on: Callable[[str], int], suspect: Collection[str]
) -> list[str]:
    """The replicas that may take one more request. A suspect or leaving one only when there is no other.

    Raises:
        GatewayError: 503 when no replica is ready, or all are full; never a wait without an end.
    """
    if not replicas:
        raise not_ready(card.name, card.not_ready or "no replica is running.", STARTING_RETRY_S)
    with_room = [r for r in replicas if requests_on(r.replica_id) < r.max_in_flight]
    trusted = [r.replica_id for r in with_room if not r.is_leaving and r.replica_id not in suspect]
    if not with_room:
        raise at_capacity(card.name, FULL_RETRY_S)
    return trusted or [r.replica_id for r in with_room]
