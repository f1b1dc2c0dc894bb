"""What an operator relies on: engines are replaced, changes restart nothing, a full cluster says so."""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cluster.run_folder import store_folder
from engine.internal_token import token_now
from engine.probe import parse_metrics
from engine.process_tree import Member, is_alive
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT, MODELS, SIMULATED, TINY

pytestmark = [pytest.mark.engine, pytest.mark.cluster]
LONG = {"max_tokens": 1500, "ignore_eos": True, "stream": True}


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.2)


def ask(cluster: ClusterProcess, model: str, max_tokens: int = 4) -> httpx.Response:
    return cluster.post("/v1/completions", {"model": model, "prompt": "one two", "max_tokens": max_tokens})


def running(replica: dict[str, Any]) -> int:
    """Requests that the engine itself says it runs, asked past the gateway."""
    headers = {"x-baryon-internal-token": token_now(replica["token"]).decode()}
    text = httpx.get(f"{replica['url']}/metrics", headers=headers, timeout=20).text
    return parse_metrics(text, 0.0).running or 0


def test_a_client_that_leaves_ends_its_generation(cluster: ClusterProcess) -> None:
    replica = cluster.live.first_replica(CHAT)
    body = {"model": CHAT, "prompt": "count", **LONG}
    with httpx.stream("POST", f"{cluster.url}/v1/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        wait_for(lambda: running(replica) == 1, 10, "the engine says that it runs")
    wait_for(lambda: running(replica) == 0, 10, "the engine stops generating")


def test_a_full_cluster_answers_503_with_retry_after_and_no_replica_restarts(cluster: ClusterProcess) -> None:
    """Ten times what the two simulated replicas hold (8 each)."""
    before = cluster.replicas(SIMULATED)
    body = {"model": SIMULATED, "prompt": "one", "max_tokens": 100}

    def ask_twice(_: int) -> list[httpx.Response]:
        with httpx.Client(base_url=cluster.url, verify=False, timeout=120) as client:
            return [client.post("/v1/completions", json=body) for _ in range(2)]

    with ThreadPoolExecutor(160) as pool:
        answers = [answer for pair in pool.map(ask_twice, range(160)) for answer in pair]
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "at_capacity"
    assert cluster.replicas(SIMULATED) == before


def test_ten_times_saturation_restarts_no_real_engine(cluster: ClusterProcess) -> None:
    """160 clients at once for 15 s where one replica holds 16: each asks again a moment after its answer or refusal."""
    before = cluster.replicas(TINY)
    body = {"model": TINY, "prompt": "one two three", "max_tokens": 100, "ignore_eos": True}
    end_s = time.monotonic() + 15

    def insist(_: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        with httpx.Client(base_url=cluster.url, verify=False, timeout=120) as client:
            while time.monotonic() < end_s:
                statuses[client.post("/v1/completions", json=body).status_code] += 1
                time.sleep(0.1)
        return statuses

    with ThreadPoolExecutor(160) as pool:
        statuses = sum(pool.map(insist, range(160)), Counter[int]())
    assert set(statuses) == {200, 503}
    assert statuses[200] >= 16
    assert ask(cluster, TINY).status_code == 200
    assert cluster.replicas(TINY) == before


def test_apply_changes_slo_counts_and_models_without_touching_an_engine(cluster: ClusterProcess) -> None:
    before = {model: cluster.replicas(model) for model in (CHAT, TINY, SIMULATED)}
    changed = MODELS.replace("min: 2}", "min: 3}").replace(
        "    kv_cache_gib: 0.75\n", "    kv_cache_gib: 0.75\n    slo: {ttft_ms: 900}\n    hang_timeout_s: 90\n"
    )
    changed += "  - {name: second-sim, engine: simulated, profile: instant, cpus_per_replica: 0.1}\n"
    done = cluster.run("apply", str(cluster.write_config(changed)))
    assert done.returncode == 0, done.stderr
    assert ask(cluster, "second-sim").status_code == 200
    after = {model: cluster.replicas(model) for model in before}
    assert after[CHAT] == before[CHAT]
    assert after[TINY] == before[TINY]
    assert before[SIMULATED].items() <= after[SIMULATED].items()
    assert len(after[SIMULATED]) == 3
    card = next(model for model in cluster.status()["models"] if model["name"] == CHAT)
    assert card["slo"]["ttft_ms"] == 900
    back = cluster.run("apply", str(cluster.write_config(MODELS)))
    assert back.returncode == 0, back.stderr
    wait_for(lambda: ask(cluster, "second-sim").status_code == 404, 15, "the model that was removed is gone")
    assert cluster.replicas(CHAT) == before[CHAT]


def test_requests_during_apply_all_succeed(cluster: ClusterProcess) -> None:
    """Serve takes a replica off its list for a moment while it changes its user_config."""
    slower = MODELS.replace(
        "    kv_cache_gib: 0.25\n    max_in_flight: 16\n",
        "    kv_cache_gib: 0.25\n    max_in_flight: 16\n    slo: {ttft_ms: 700}\n",
    )
    path = cluster.write_config(slower)
    with ThreadPoolExecutor(2) as pool:
        applying = pool.submit(cluster.run, "apply", str(path))
        statuses = []
        while not applying.done():
            statuses.append(ask(cluster, TINY).status_code)
            time.sleep(0.02)
    assert applying.result().returncode == 0
    assert set(statuses) == {200}
    assert cluster.run("apply", str(cluster.write_config(MODELS))).returncode == 0


def test_gateways_serve_from_their_snapshot_while_state_is_away(cluster: ClusterProcess) -> None:
    application = next(a for a in cluster.status()["applications"] if a["name"] == "state")
    os.kill(application["replicas"][0]["pid"], signal.SIGKILL)
    for _ in range(10):
        assert ask(cluster, SIMULATED).status_code == 200
    wait_for(lambda: bool(cluster.live.snapshot()), 40, "state comes back")
    assert len(cluster.status()["models"]) == 5


def test_an_engine_that_dies_is_replaced_with_the_cause_in_status(cluster: ClusterProcess) -> None:
    found: dict[str, list[Member]] = {}

    def core_is_seen() -> bool:
        trees = {replica: cluster.engine_members(pid) for replica, pid in cluster.replicas(TINY).items()}
        found.update({r: tree for r, tree in trees.items() if any("EngineCore" in member.title for member in tree)})
        return bool(found)

    wait_for(core_is_seen, 10, "the engine core is among the replica's processes")
    (replica, members), *_ = found.items()
    core = next(member for member in members if "EngineCore" in member.title)
    os.kill(core.pid, signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, members)), 10, "nothing of the old engine is left")
    starting = ask(cluster, TINY)
    assert starting.status_code == 503
    assert starting.headers["retry-after"]
    assert ask(cluster, SIMULATED).status_code == 200
    wait_for(lambda: bool(cluster.replicas(TINY)), 150, "a new engine is ready")
    assert replica not in cluster.replicas(TINY)
    failure = next(f for f in cluster.status()["failures"] if f["replica_id"] == replica)
    assert failure["cause"] == "killed"
    wait_for(lambda: ask(cluster, TINY).status_code == 200, 10, "the gateway knows the new replica")


def test_a_replica_that_is_killed_takes_its_engine_along(cluster: ClusterProcess) -> None:
    (_, pid), *_ = cluster.replicas(SIMULATED).items()
    members = cluster.engine_members(pid)
    assert members
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, members)), 10, "its engine is gone")
    assert all(ask(cluster, SIMULATED).status_code == 200 for _ in range(20))
    wait_for(lambda: len(cluster.replicas(SIMULATED)) == 2, 60, "a new replica is ready")


def test_a_second_cluster_on_the_same_port_is_refused_before_anything_starts(cluster: ClusterProcess) -> None:
    done = cluster.run("up", str(cluster.config))
    assert done.returncode == 3
    assert "already running" in done.stderr
    other = dict(cluster.environment, BARYON_RUN_DIR=str(cluster.folder / "other"))
    ours, cluster.environment = cluster.environment, other
    try:
        done = cluster.run("up", str(cluster.config))
    finally:
        cluster.environment = ours
    assert done.returncode == 3
    assert "is taken by process" in done.stderr


def refusal(cluster: ClusterProcess, model: str) -> str:
    answer = ask(cluster, model)
    assert answer.status_code == 503
    return str(answer.json()["error"]["message"])


def test_bad_weights_are_named_in_status(cluster: ClusterProcess) -> None:
    """A model whose weights file is cut short never becomes ready, says why, and disturbs nobody."""
    good = store_folder() / "bundled" / "tiny-random-llama"
    broken = cluster.folder / "broken"
    broken.mkdir()
    for path in good.iterdir():
        (broken / path.name).write_bytes(path.read_bytes()[: 100_000 if path.suffix == ".safetensors" else None])
    text = MODELS + f"  - {{name: broken, source: {broken}, kv_cache_gib: 0.25, cpus_per_replica: 0.1}}\n"
    done = cluster.run("apply", str(cluster.write_config(text)), timeout_s=250)
    assert done.returncode == 1
    assert "bad_weights" in done.stderr, done.stderr
    assert len([f for f in cluster.status()["failures"] if f["model"] == "broken"]) == 1
    assert ask(cluster, SIMULATED).status_code == 200
    wait_for(lambda: "bad weights" in refusal(cluster, "broken"), 150, "clients learn why, between Serve's tries")
    assert cluster.run("apply", str(cluster.write_config(MODELS))).returncode == 0


def test_the_port_is_on_loopback_only(cluster: ClusterProcess) -> None:
    hostname_ip = socket.gethostbyname(socket.gethostname())
    if hostname_ip.startswith("127."):
        hostname_ip = "127.0.0.2"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{hostname_ip}:{cluster.port}/health", timeout=3)
