"""Which replica Serve will take: checked against Serve's own scheduler."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.deployment_scheduler import DeploymentScheduler

from cluster.autoscaler.next_to_go import Running, next_to_go

HEAD = "n0"


class Nodes:
    """What the scheduler asks of Serve's node cache here."""

    def get_node_labels(self, _node_id: str) -> dict[str, str]:
        return {}


def taken_by_serve(replicas: Sequence[Running], model: str, count: int) -> set[str]:
    scheduler = DeploymentScheduler(Nodes(), HEAD, lambda *_: None)
    for name in {replica.model for replica in replicas} | {model}:
        scheduler.on_deployment_created(DeploymentID(name), None)
    for replica in sorted(replicas, key=lambda one: one.ready_s):
        scheduler.on_replica_running(ReplicaID(replica.replica_id, DeploymentID(replica.model)), replica.node_id)
    chosen = scheduler._get_replicas_to_stop(DeploymentID(model), count)
    return {replica.unique_id for replica in chosen}


@given(
    placed=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["n0", "n1", "n2"])), min_size=1, max_size=12
    ),
    count=st.integers(1, 4),
)
def test_the_prediction_is_what_serve_does(placed: list[tuple[str, str]], count: int) -> None:
    """Where two nodes are level Serve goes by the order in which it came to know them; the count is what must hold."""
    replicas = [Running(model, f"r{i}", node, float(i)) for i, (model, node) in enumerate(placed)]
    ours = [replica for replica in replicas if replica.model == "a"]
    predicted, taken = next_to_go("a", replicas, HEAD, count), taken_by_serve(replicas, "a", count)
    assert len(predicted) == len(taken) == min(count, len(ours))
    on_node = {node: sum(replica.node_id == node for replica in replicas) for node in ("n0", "n1", "n2")}

    def ranks(names: Sequence[str]) -> list[tuple[bool, int]]:
        nodes = [replica.node_id for replica in ours if replica.replica_id in names]
        return sorted((node == HEAD, on_node[node]) for node in nodes)

    assert ranks(predicted) == ranks(list(taken))


def test_on_one_node_the_newest_goes() -> None:
    replicas = [Running("a", f"r{i}", HEAD, float(i)) for i in range(3)]
    assert next_to_go("a", replicas, HEAD, 2) == ["r2", "r1"]
    assert taken_by_serve(replicas, "a", 2) == {"r2", "r1"}


@pytest.mark.parametrize("count", [0, 5])
def test_no_more_than_there_are(count: int) -> None:
    replicas = [Running("a", "r0", HEAD, 0.0), Running("b", "r1", HEAD, 0.0)]
    assert next_to_go("a", replicas, HEAD, count) == ["r0"][:count]
