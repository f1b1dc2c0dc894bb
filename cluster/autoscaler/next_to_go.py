"""Which replicas Ray Serve takes when a count goes down. It chooses (`_get_replicas_to_stop`, 2.60); this predicts it.

Not on the head node first, then on the node with the fewest replicas of all deployments, then the newest. Those that do
not run yet go before all, and are not predicted here: nothing is lost with them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """A replica that serves, since `ready_s`."""

    model: str
    replica_id: str
    node_id: str
    ready_s: float


def next_to_go(model: str, replicas: Sequence[Running], head_node_id: str, count: int) -> list[str]:
    """The first `count` that Serve would stop of this model. `replicas`: all that run, of all models, as they came."""
    on_node = Counter(replica.node_id for replica in replicas)
    ours = [replica for replica in reversed(replicas) if replica.model == model]
    ours.sort(key=lambda one: -one.ready_s)
    ours.sort(key=lambda one: (one.node_id == head_node_id, on_node[one.node_id]))
    return [replica.replica_id for replica in ours[:count]]
