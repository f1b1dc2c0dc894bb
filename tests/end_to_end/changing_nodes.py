"""`python -m tests.end_to_end.changing_nodes FOLDER`: nodes with made-up GPUs come, and go under load; as JSON.

A process of its own, because Ray allows one cluster per process.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.config_file import parse_config
from cluster.ray_head import ENVIRONMENT, ray_executable
from cluster.serve_api import ServeApi
from cluster.serve_schema import Surroundings, serve_schema
from tests.benchmarks.gateway_cpu import free_port
from tests.verify.keep_alive_load import KeepAliveLoad

CONFIG = """
gateway: {{port: {port}, admin_port: 0, processes: 2}}
models:
  - name: m
    engine: simulated
    profile: llama-3.1-70b-h100-tp4
    device: cuda
    cpus_per_replica: 0.5
    drain_timeout_s: 10
    replicas: {{min: 2}}
"""
STORE_BYTES = 80 * 2**20
STREAM_TOKENS = range(120, 240)
DEADLINE_S = 60
LOAD_S = 4.0


def main(folder: Path) -> None:
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    port, dashboard_port = free_port(), free_port()
    head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": True, "dashboard_port": dashboard_port}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": STORE_BYTES})
    api = ServeApi(f"http://127.0.0.1:{dashboard_port}")
    try:
        first = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES)
        where = Surroundings(folder / "state.sqlite", folder, folder, "127.0.0.1", "cuda", 1.0)
        api.deploy(serve_schema(parse_config(CONFIG.format(port=port)), where))
        wait(lambda: list(nodes_of(api)) == [first.node_id], "one replica is placed")
        wait(lambda: demand(cluster.address) == {"GPU": 1.0, "CPU": 0.5}, "Ray's autoscaler is asked for another GPU")
        second = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES)
        wait(lambda: nodes_of(api) == {first.node_id, second.node_id}, "the new node has the other replica")
        without_demand = demand(cluster.address)
        with KeepAliveLoad(f"http://127.0.0.1:{port}", ["m"], clients=4, stream_tokens=STREAM_TOKENS, seed=3) as load:
            time.sleep(LOAD_S)
            drain(cluster.address, first.node_id)
            time.sleep(LOAD_S)
            meanwhile = nodes_of(api)
            third = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES)
            wait(lambda: nodes_of(api) == {second.node_id, third.node_id}, "the replica has moved to the third node")
            wait(lambda: bool(drains(folder)), "the old one has told what it cut")
            time.sleep(LOAD_S)
        print(
            json.dumps(
                {
                    "demand_once_placed": without_demand,
                    "stayed_until_there_was_room": meanwhile == {first.node_id, second.node_id},
                    "outcomes": load.outcomes,
                    "failures": load.failures,
                    "cut": [cut for _, cut in drains(folder)],
                }
            ),
            flush=True,
        )
        api.delete_all()
        wait(lambda: not api.applications(), "everything has ended")
    finally:
        cluster.shutdown()


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline_s, f"not in time: {what}"
        time.sleep(0.3)


def nodes_of(api: ServeApi) -> set[str]:
    """Where replicas of the model run."""
    deployments: dict[str, Any] = api.applications().get("m", {}).get("deployments", {})
    replicas = [replica for deployment in deployments.values() for replica in deployment["replicas"]]
    return {r["node_id"] for r in replicas if r["state"] in ("RUNNING", "PENDING_MIGRATION")}


def demand(gcs_address: str) -> dict[str, float]:
    """What Ray's autoscaler would add nodes for, summed over pending actors."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    pending = get_cluster_status(gcs_address).resource_demands.ray_task_actor_demand
    total: dict[str, float] = {}
    for request in (by_count for one in pending for by_count in one.bundles_by_count):
        for name, amount in request.bundle.items():
            total[name] = total.get(name, 0.0) + amount * request.count
    return total


def drain(gcs_address: str, node_id: str) -> None:
    """As Ray's autoscaler does before it takes a node away."""
    command = [ray_executable(), "drain-node", f"--address={gcs_address}", f"--node-id={node_id}"]
    command += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=test"]
    subprocess.run([*command, f"--deadline-remaining-seconds={DEADLINE_S}"], check=True, stdout=sys.stderr)


def drains(folder: Path) -> list[tuple[str, int]]:
    """Replica and how many requests it cut, from state's own file."""
    import sqlite3

    with sqlite3.connect(folder / "state.sqlite") as connection:
        return list(connection.execute("SELECT replica_id, cut_requests FROM drain"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
