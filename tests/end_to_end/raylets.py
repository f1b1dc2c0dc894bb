"""`python -m tests.end_to_end.raylets FOLDER`: several raylets with made-up GPUs, real placement by Ray, as JSON.

A process of its own, because Ray allows one cluster per process.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from cluster.bring_up import placement_of
from cluster.config_file import parse_config
from cluster.placement import Node
from cluster.ray_head import ENVIRONMENT
from cluster.serve_api import ServeApi
from cluster.serve_schema import Surroundings, serve_schema
from tests.benchmarks.gateway_cpu import free_port

CONFIG = """
gateway: {{port: {port}, admin_port: 0}}
models:
  - name: spread
    engine: simulated
    profile: instant
    device: cuda
    tensor_parallel_size: 2
    cpus_per_replica: 0.5
    replicas: {{min: 3}}
"""


def wait_until_running(api: ServeApi) -> dict[str, Any]:
    deadline_s = time.monotonic() + 90
    while True:
        applications = api.applications()
        if applications and all(a["status"] == "RUNNING" for a in applications.values()):
            return applications
        assert time.monotonic() < deadline_s, json.dumps(applications, indent=1)[-3000:]
        time.sleep(0.3)


def main(folder: Path) -> None:
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    port, dashboard_port = free_port(), free_port()
    head = {"num_cpus": 2, "num_gpus": 0, "include_dashboard": True, "dashboard_port": dashboard_port}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": 80 * 2**20})
    try:
        for _ in range(3):
            cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=80 * 2**20)
        config = parse_config(CONFIG.format(port=port))
        where = Surroundings(folder / "state.sqlite", folder, folder, "127.0.0.1", "cuda", 8.0)
        api = ServeApi(f"http://127.0.0.1:{dashboard_port}")
        api.deploy(serve_schema(config, where))
        applications = wait_until_running(api)
        replicas = applications["spread"]["deployments"]["Replica"]["replicas"]
        nodes = [Node(f"node-{index}", 2.0, 2.0) for index in range(3)]
        too_large = parse_config(CONFIG.format(port=port).replace("tensor_parallel_size: 2", "tensor_parallel_size: 4"))
        refusal = placement_of(too_large, nodes, "cuda")
        print(
            json.dumps(
                {
                    "nodes": [replica["node_id"] for replica in replicas],
                    "visible_gpus": [gpus_of(replica["pid"]) for replica in replicas],
                    "refusal": refusal.message if refusal else None,
                }
            )
        )
        api.delete_all()
        while api.applications():
            time.sleep(0.2)
    finally:
        cluster.shutdown()


def gpus_of(pid: int) -> str:
    """CUDA_VISIBLE_DEVICES of the engine below a replica, which inherits what Ray set."""
    from engine.process_tree import descendants

    reaper = next(member for member in descendants(pid) if "engine.reaper" in member.title)
    environment = Path(f"/proc/{reaper.pid}/environ").read_bytes().split(b"\0")
    return next((e.partition(b"=")[2].decode() for e in environment if e.startswith(b"CUDA_VISIBLE_DEVICES=")), "unset")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
