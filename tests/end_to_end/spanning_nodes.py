"""`python -m tests.end_to_end.spanning_nodes FOLDER TP PP MODEL`: one real engine over two raylets, as JSON.

A process of its own, because Ray allows one cluster per process. The engine answers once; then the raylet of its second
node is killed, and what is left of the engine on either node is counted.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from cluster.config_file import parse_config
from cluster.ray_head import ENVIRONMENT
from cluster.run_folder import store_folder
from cluster.serve_api import ServeApi
from cluster.serve_schema import Surroundings, serve_schema
from engine.process_tree import Member, descendants, is_alive
from tests.benchmarks.gateway_cpu import free_port

CONFIG = """
gateway: {{port: {port}, admin_port: 0}}
models:
  - name: m
    source: bundled:{model}
    tensor_parallel_size: {tp}
    pipeline_parallel_size: {pp}
    nodes_per_replica: 2
    cpus_per_replica: 2
    kv_cache_gib: 0.25
    engine_args: {{max_model_len: 512}}
"""
STORE_BYTES = 80 * 2**20
PROMPT = "The quick brown fox jumps over"
TOKENS = 12


def main(folder: Path, tp: int, pp: int, model: str) -> None:
    os.environ.update(ENVIRONMENT)
    import ray
    from ray.cluster_utils import Cluster

    port, dashboard_port = free_port(), free_port()
    head = {"num_cpus": 1, "include_dashboard": True, "dashboard_port": dashboard_port}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": STORE_BYTES})
    try:
        nodes = [cluster.add_node(num_cpus=3, object_store_memory=STORE_BYTES) for _ in range(2)]
        where = Surroundings(folder / "state.sqlite", store_folder(), folder, "127.0.0.1", "cpu", 0.0)
        api = ServeApi(f"http://127.0.0.1:{dashboard_port}")
        api.deploy(serve_schema(parse_config(CONFIG.format(port=port, tp=tp, pp=pp, model=model)), where))
        wait_until_running(api)
        body = {"model": "m", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
        text = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body, timeout=120).json()
        leader, follower = (engine_on(node) for node in by_leader(nodes))
        follower_node = next(node for node in nodes if engine_on(node) == follower)
        cluster.remove_node(follower_node, allow_graceful=False)
        print(
            json.dumps(
                {
                    "text": text["choices"][0]["text"],
                    "leader": [member.title for member in leader],
                    "follower": [member.title for member in follower],
                    "left": [member.title for member in left_after(10, [*leader, *follower])],
                    "cause": cause(api),
                }
            ),
            flush=True,
        )
    finally:
        ray.shutdown()
        cluster.shutdown()


def wait_until_running(api: ServeApi) -> None:
    deadline_s = time.monotonic() + 420
    while True:
        applications = api.applications()
        if applications and all(a["status"] == "RUNNING" for a in applications.values()):
            return
        assert time.monotonic() < deadline_s, json.dumps(applications, indent=1)[-3000:]
        time.sleep(0.3)


def engine_on(node: Any) -> list[Member]:
    """The engine's processes below a node's raylet, the reaper first."""
    below = descendants(node.all_processes["raylet"][0].process.pid)
    reaper = next(member for member in below if "engine.reaper" in member.title)
    return [reaper, *descendants(reaper.pid)]


def by_leader(nodes: list[Any]) -> list[Any]:
    return sorted(nodes, key=lambda node: any("--headless" in member.title for member in engine_on(node)))


def left_after(seconds: float, members: list[Member]) -> list[Member]:
    deadline_s = time.monotonic() + seconds
    while any(map(is_alive, members)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return [member for member in members if is_alive(member)]


def cause(api: ServeApi) -> str:
    """What `baryon status` shows, once state knows."""
    from ray import serve

    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            snapshot = serve.get_deployment_handle("State", "state").snapshot.remote().result(timeout_s=5)
        except Exception:
            time.sleep(0.3)
            continue
        if snapshot["failures"]:
            return str(snapshot["failures"][0]["cause"])
        time.sleep(0.2)
    return "none"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
