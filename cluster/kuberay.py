"""Whether this process is in a pod of a cluster that KubeRay runs, where no `baryon up` has left a record."""

import os

RAYS_OWN_ADDRESS = "auto"


def belongs_to_kuberay() -> bool:
    return bool(os.environ.get("RAY_CLUSTER_NAME") or os.environ.get("KUBERAY_GEN_RAY_START_CMD"))
