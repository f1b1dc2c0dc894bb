"""Step 3: may it enter now, or wait until it may? Pure decisions over what this gateway knows."""

import math
from collections.abc import Callable, Collection, Sequence

from deployments.gateway.catalogue import ModelCard, Wake
from deployments.gateway.errors import at_capacity, not_ready, queue_too_long, wake_too_long
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


def check_wait(model: str, patience: Wake, expected_s: float, *, is_asleep: bool) -> None:
    """Whether one more request may wait for a replica.

    Raises:
        GatewayError: 503 when its turn is expected later than a request may wait.
    """
    if expected_s > patience.max_wait_s:
        too_long = wake_too_long if is_asleep else queue_too_long
        raise too_long(model, patience.max_wait_s, retry_after(expected_s))


def retry_after(expected_s: float) -> int:
    """Whole seconds, at least one."""
    return max(1, math.ceil(expected_s))
