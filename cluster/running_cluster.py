"""The cluster that a command is about: the one that `baryon up` started from here, or the one of this KubeRay pod."""

import os

from cluster.bring_up import head_of
from cluster.kuberay import RAYS_OWN_ADDRESS, belongs_to_kuberay
from cluster.run_folder import RunFolder, RunRecord

DASHBOARD_PORT = 8265


def running_cluster(folder: RunFolder) -> RunRecord | None:
    record = folder.read()
    if record is not None and head_of(record) is not None:
        return record
    return _of_this_pod() if belongs_to_kuberay() else None


def _of_this_pod() -> RunRecord:
    """KubeRay says where the head is; no address of the gateways is known in every pod."""
    head = os.environ.get("RAY_ADDRESS", "127.0.0.1:6379").rpartition(":")[0]
    dashboard = f"http://{head}:{DASHBOARD_PORT}"
    return RunRecord(
        pid=0, start_ticks=0, gcs_address=RAYS_OWN_ADDRESS, dashboard_url=dashboard, gateway_url="", config_path=""
    )
