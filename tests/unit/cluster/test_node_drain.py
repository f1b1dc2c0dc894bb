"""A pod that is to go waits for its replicas, not longer than it may, and not at all where nobody can be asked."""

from pathlib import Path
from types import SimpleNamespace

from ray import NodeID
from ray.core.generated.gcs_pb2 import GcsNodeInfo

from cluster.node_drain import node_at, replicas_here, wait_until_empty


def test_it_waits_until_the_last_replica_has_gone() -> None:
    counts, now_s = [2, 1, 0], [0.0]
    wait_until_empty(100, lambda: counts.pop(0), lambda: now_s[0], lambda s: now_s.__setitem__(0, now_s[0] + s))
    assert (counts, now_s) == ([], [2.0])


def test_it_waits_no_longer_than_its_deadline() -> None:
    now_s = [0.0]
    wait_until_empty(7, lambda: 1, lambda: now_s[0], lambda s: now_s.__setitem__(0, now_s[0] + s))
    assert now_s == [7.0]


def test_replicas_are_known_by_their_processes_titles(tmp_path: Path) -> None:
    titles = {
        "1": b"/usr/bin/raylet",
        "2": b"ray::ServeReplica:gateway:Gateway",
        "3": b"ray::IDLE",
        "self": b"ray::ServeReplica:x",
    }
    for pid, title in titles.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(title)
    (tmp_path / "4").mkdir()
    assert replicas_here(tmp_path) == 1


def test_this_node_is_the_living_one_of_its_address() -> None:
    dead, alive, other = NodeID.from_random(), NodeID.from_random(), NodeID.from_random()
    nodes = {
        dead: SimpleNamespace(node_manager_address="10.0.0.1", state=GcsNodeInfo.DEAD),
        other: SimpleNamespace(node_manager_address="10.0.0.2", state=GcsNodeInfo.ALIVE),
        alive: SimpleNamespace(node_manager_address="10.0.0.1", state=GcsNodeInfo.ALIVE),
    }
    assert node_at("10.0.0.1", nodes) == alive.hex()
    assert node_at("10.0.0.9", nodes) is None
