"""Step 3: may it enter now, or wait until it may? Pure decisions over what this gateway knows."""

import math
from collections.abc import Callable, Collection, Sequence

from deployments.gateway.catalogue import ModelCard
from deployments.gateway.errors import at_capacity, not_ready, room_is_full, wait_too_long
from deployments.gateway.replica_table import ReplicaInfo

STARTING_RETRY_S = 5
FULL_RETRY_S = 1

RequestsOn = Callable[[str], int]


def admit(
    card: ModelCard, replicas: Sequence[ReplicaInfo], requests_on: RequestsOn, suspect: Collection[str]
) -> list[str]:
    """The replicas that may take one more request.

    One that Serve will end next only when no other has room; a suspect or leaving one only when there is nothing else.

    Raises:
        GatewayError: 503 when no replica is ready, or all are full.
    """
    if not replicas:
        raise not_ready(card.name, card.not_ready or "no replica is running.", STARTING_RETRY_S)
    with_room = [r for r in replicas if has_room(r, requests_on)]
    if not with_room:
        raise at_capacity(card.name, FULL_RETRY_S)
    trusted = [r.replica_id for r in with_room if not r.is_leaving and r.replica_id not in suspect]
    staying = [replica for replica in trusted if replica not in card.scaling.reluctant]
    return staying or trusted or [r.replica_id for r in with_room]


def has_room(replica: ReplicaInfo, requests_on: RequestsOn) -> bool:
    return requests_on(replica.replica_id) < replica.max_in_flight


def is_at_zero(replicas: Sequence[ReplicaInfo], tried: Collection[str]) -> bool:
    """Whether nothing is there that could take it: what leaves may still, until it has been tried."""
    return all(r.is_leaving and r.replica_id in tried for r in replicas)


def check_wait(card: ModelCard, waiting: int, expected_s: float) -> None:
    """Whether one more request may wait for a replica, of a model that wakes.

    Raises:
        GatewayError: 503 when so many wait already, or a replica is expected later than a request may wait.
    """
    assert card.wake is not None
    if waiting >= card.wake.max_waiting:
        raise room_is_full(card.name, waiting, retry_after(expected_s))
    if expected_s > card.wake.max_wait_s:
        raise wait_too_long(card.name, card.wake.max_wait_s, retry_after(expected_s))


def retry_after(expected_s: float) -> int:
    """Whole seconds, at least one."""
    return max(1, math.ceil(expected_s))
