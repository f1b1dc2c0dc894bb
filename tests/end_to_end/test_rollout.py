"""A new version replaces the old one while clients are served, and one that does not start replaces nothing."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess

import httpx
import pytest

from tests.end_to_end.cluster_process import ClusterProcess, running_cluster

pytestmark = pytest.mark.cluster
PROFILE = "llama-3.1-70b-h100-tp4"
GOOD = f"""
models:
  - {{name: sim, engine: simulated, profile: {PROFILE}, cpus_per_replica: 0.2, replicas: {{min: 2}}}}
  - {{name: big, engine: simulated, profile: {PROFILE}, cpus_per_replica: 4, drain_timeout_s: 2}}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterProcess]:
    with running_cluster(GOOD, gateway_processes=2) as process:
        yield process


@pytest.fixture(autouse=True)
def _as_at_first(cluster: ClusterProcess) -> Iterator[None]:
    yield
    assert cluster.run("apply", str(cluster.write_config(GOOD))).returncode == 0


def ask(cluster: ClusterProcess, model: str, max_tokens: int = 3) -> httpx.Response:
    return cluster.post("/v1/completions", {"model": model, "prompt": "one", "max_tokens": max_tokens})


def stream(cluster: ClusterProcess, model: str, max_tokens: int) -> str:
    """What came of it, whether or not it was whole."""
    body = {"model": model, "prompt": "one", "max_tokens": max_tokens, "stream": True}
    text = ""
    with (
        contextlib.suppress(httpx.RemoteProtocolError),
        httpx.stream("POST", f"{cluster.url}/v1/completions", json=body, timeout=60) as response,
    ):
        for piece in response.iter_text():
            text += piece
    return text


def apply_while_asking(cluster: ClusterProcess, text: str, model: str) -> tuple["CompletedProcess[str]", set[int]]:
    """What the command did, and every status that clients of `model` got meanwhile."""
    path = cluster.write_config(text)
    with ThreadPoolExecutor(2) as pool:
        applying = pool.submit(cluster.run, "apply", str(path))
        statuses = set()
        while not applying.done():
            statuses.add(ask(cluster, model).status_code)
            time.sleep(0.02)
    return applying.result(), statuses


def test_a_new_version_starts_beside_the_old_where_there_is_room(cluster: ClusterProcess) -> None:
    before = cluster.replicas("sim")
    done, statuses = apply_while_asking(cluster, GOOD.replace("{min: 2}", "{min: 2}, max_in_flight: 99"), "sim")
    assert done.returncode == 0, done.stderr
    assert "2 replicas, 1 at a time" in done.stdout
    assert statuses == {200}
    after = cluster.replicas("sim")
    assert len(after) == 2
    assert not before.keys() & after.keys()


def test_a_version_that_fails_to_start_leaves_the_old_one_serving_and_says_so(cluster: ClusterProcess) -> None:
    before = cluster.replicas("sim")
    done, statuses = apply_while_asking(cluster, GOOD.replace(PROFILE, "no-such-profile", 1), "sim")
    assert done.returncode == 1
    assert "sim: unknown: The engine exited with code 2." in done.stderr, done.stderr
    assert "The old version of sim goes on serving." in done.stderr
    assert statuses == {200}
    assert cluster.replicas("sim") == before
    status = cluster.status()
    assert {a["name"]: a["status"] for a in status["applications"]}["sim"] == "RUNNING"
    assert status["failures"][0]["model"] == "sim"


def test_a_version_that_never_becomes_ready_does_too(cluster: ClusterProcess) -> None:
    before = cluster.replicas("sim")
    done, statuses = apply_while_asking(cluster, GOOD.replace("{min: 2}", "{min: 2}, start_timeout_s: 0.1"), "sim")
    assert done.returncode == 1
    assert "start_timeout" in done.stderr
    assert statuses == {200}
    assert cluster.replicas("sim") == before


def test_without_room_beside_it_the_old_stops_first_and_comes_back_if_the_new_fails(cluster: ClusterProcess) -> None:
    before = cluster.replicas("big")
    broken = GOOD.replace(
        f"name: big, engine: simulated, profile: {PROFILE}", "name: big, engine: simulated, profile: no"
    )
    done, statuses = apply_while_asking(cluster, broken, "sim")
    assert done.returncode == 1
    assert "nothing serves this model until the new is ready" in done.stdout
    assert "The old version of big goes on serving." in done.stderr
    assert statuses == {200}
    assert ask(cluster, "big").status_code == 200
    assert len(cluster.replicas("big")) == 1
    assert not before.keys() & cluster.replicas("big").keys()


def test_a_stream_outlives_the_version_it_began_on(cluster: ClusterProcess) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stream, cluster, "sim", 300)
        time.sleep(0.5)
        changed = GOOD.replace("{min: 2}", "{min: 2}, max_in_flight: 98")
        assert cluster.run("apply", str(cluster.write_config(changed))).returncode == 0
        assert running.result().rstrip().endswith("data: [DONE]")
    assert all(drain["cut_requests"] == 0 for drain in cluster.status()["drains"] if drain["model"] == "sim")


def test_a_stream_longer_than_the_drain_limit_is_cut_and_reported(cluster: ClusterProcess) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stream, cluster, "big", 3000)
        time.sleep(0.5)
        changed = GOOD.replace("cpus_per_replica: 4", "cpus_per_replica: 4, max_in_flight: 98")
        assert cluster.run("apply", str(cluster.write_config(changed))).returncode == 0
        assert "engine_unavailable" in running.result()
        assert "[DONE]" not in running.result()
    drain = cluster.status()["drains"][0]
    assert (drain["model"], drain["cut_requests"]) == ("big", 1)
    assert drain["waited_s"] == pytest.approx(2, abs=1)
    assert "1 requests cut" in cluster.run("status").stdout
