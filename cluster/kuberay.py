"""A cluster that KubeRay runs: whether this process is in a pod of one, and where things are in its pods.

The Helm chart renders the same Serve document that `serve_schema` makes of these surroundings.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from cluster.config import THIS_NODE
from cluster.serve_schema import Surroundings

RAYS_OWN_ADDRESS = "auto"
STATE_PATH = Path("/var/lib/baryon/state.sqlite")
STORE_FOLDER = Path("/var/cache/baryon/models")
LOG_FOLDER = Path("/var/log/baryon")


def belongs_to_kuberay() -> bool:
    return bool(os.environ.get("RAY_CLUSTER_NAME") or os.environ.get("KUBERAY_GEN_RAY_START_CMD"))


def surroundings_in_pods(gpus_by_group: Mapping[str, float], changed_by: str) -> Surroundings:
    """`gpus_by_group`: what one pod of each engine group has."""
    largest = max(gpus_by_group.values(), default=0.0)
    return Surroundings(
        state_path=STATE_PATH,
        store_folder=STORE_FOLDER,
        log_folder=LOG_FOLDER,
        engine_host=THIS_NODE,
        auto_device="cuda" if largest >= 1 else "cpu",
        largest_node_gpus=largest,
        changed_by=changed_by,
        own_nodes=True,
        gpus_by_group=gpus_by_group,
    )
