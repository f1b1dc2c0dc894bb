"""Two gateways on one port, and what is left when the node's raylet is killed."""

import os
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from engine.process_tree import is_alive
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.keys_on_two_gateways import check_keys
from tests.end_to_end.limits_over_gateways import check_limits
from tests.end_to_end.metrics_of_two_gateways import check_kills, check_page, check_serve_pages

pytestmark = pytest.mark.cluster

MODELS = """
models:
  - {name: sim, engine: simulated, profile: instant, cpus_per_replica: 0.1, replicas: {min: 2}}
"""


@pytest.fixture(scope="module")
def small() -> Iterator[ClusterProcess]:
    cluster = ClusterProcess(MODELS, gateway_processes=2)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


def gateways(cluster: ClusterProcess) -> dict[str, int]:
    application = next(a for a in cluster.status()["applications"] if a["name"] == "gateway")
    return {replica["id"]: replica["pid"] for replica in application["replicas"]}


def ask(cluster: ClusterProcess) -> int:
    return cluster.post("/v1/completions", {"model": "sim", "prompt": "a", "max_tokens": 2}, 10).status_code


def test_both_gateways_answer_on_one_port(small: ClusterProcess) -> None:
    pids = set(gateways(small).values())
    assert len(pids) == 2
    listeners = {pid for pid in pids if holds_connection(small, pid)}
    assert listeners == pids


def test_their_node_has_one_page_of_metrics(small: ClusterProcess) -> None:
    check_page(small)
    check_serve_pages(small)


def test_metrics_outlive_an_engine_and_a_gateway_that_are_killed(small: ClusterProcess) -> None:
    check_kills(small, gateways)


def holds_connection(cluster: ClusterProcess, pid: int) -> bool:
    """Whether some of forty kept connections ended up in this process."""
    clients = [httpx.Client() for _ in range(40)]
    try:
        for client in clients:
            assert client.get(f"{cluster.url}/health").status_code == 200
        return sockets_of(pid, cluster.port) > 0
    finally:
        for client in clients:
            client.close()


def sockets_of(pid: int, port: int) -> int:
    import psutil

    connections = psutil.Process(pid).net_connections("tcp")
    return sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in connections)


def test_a_killed_gateway_comes_back_while_the_other_answers(small: ClusterProcess) -> None:
    (killed, pid), _ = gateways(small).items()
    os.kill(pid, signal.SIGKILL)
    deadline_s = time.monotonic() + 40
    while set(gateways(small)) & {killed} or len(gateways(small)) < 2:
        assert time.monotonic() < deadline_s
        assert ask(small) == 200
    assert all(ask(small) == 200 for _ in range(20))


def test_keys_count_on_both_within_two_seconds_and_are_nowhere_to_be_read(small: ClusterProcess) -> None:
    """From here on this cluster asks for keys."""
    pids = {a["name"]: {r["pid"] for r in a["replicas"]} for a in small.status()["applications"]}
    check_keys(small, pids["gateway"], pids["state"].pop())


def test_limits_hold_over_both(small: ClusterProcess) -> None:
    check_limits(small)


def test_a_killed_raylet_leaves_no_engine(small: ClusterProcess) -> None:
    tree = small.tree()
    engines = [member for member in tree if "engine.reaper" in member.title or "engine.simulated" in member.title]
    assert len(engines) >= 4
    raylet = next(member for member in tree if "raylet/raylet" in member.title.split(" ")[0])
    os.kill(raylet.pid, signal.SIGKILL)
    deadline_s = time.monotonic() + 10
    while any(map(is_alive, engines)):
        assert time.monotonic() < deadline_s, [member for member in engines if is_alive(member)]
        time.sleep(0.1)
