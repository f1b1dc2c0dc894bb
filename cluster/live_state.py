"""The state deployment and the replicas of a running cluster, asked from a command line."""

import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from typing import Any

from cluster.placement import Node
from cluster.ray_head import ENVIRONMENT
from deployments.key_changes import KeyChange, Refused
from deployments.state_backup import BackupError
from deployments.usage_ledger import UsageQuery

CALL_TIMEOUT_S = 5.0
BACKUP_TIMEOUT_S = 300.0


class LiveState:
    """A connection to Ray for as long as the `with` block lasts. Ray takes SIGTERM as it comes and as it goes."""

    def __init__(self, gcs_address: str) -> None:
        self._gcs_address = gcs_address
        self._handles: dict[str, Any] = {}

    def __enter__(self) -> "LiveState":
        os.environ.update(ENVIRONMENT)
        import ray

        self._ours = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        ray.init(
            address=self._gcs_address,
            namespace="serve",
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
        )
        _restore(self._ours)
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        with contextlib.suppress(Exception):
            for handle in self._handles.values():
                handle.shutdown()
        if self._handles:
            _forget_controller()
        with contextlib.suppress(Exception):
            ray.shutdown()
        _restore(self._ours)

    def snapshot(self) -> dict[str, Any] | None:
        """Models, replicas and failures as state knows them; None while state is not there."""
        try:
            call = self._handle("State", "state").snapshot.remote()
            snapshot: dict[str, Any] = call.result(timeout_s=CALL_TIMEOUT_S)
        except Exception:
            return None
        return snapshot

    def decisions(self, model: str, limit: int, *, changes_only: bool) -> list[dict[str, Any]]:
        """The autoscaler's last decisions on a model, newest first."""
        call = self._handle("State", "state").decisions.remote(model, limit, changes_only)
        decisions: list[dict[str, Any]] = call.result(timeout_s=CALL_TIMEOUT_S)
        return decisions

    def keys(self) -> dict[str, Any]:
        """Keys without their secrets, tenants, and whether there has ever been a key."""
        keys: dict[str, Any] = self._handle("State", "state").keys.remote().result(timeout_s=CALL_TIMEOUT_S)
        return keys

    def change_keys(self, change: KeyChange, actor: str) -> dict[str, Any] | Refused:
        call = self._handle("State", "state").change_keys.remote(change, actor)
        made: dict[str, Any] | Refused = call.result(timeout_s=CALL_TIMEOUT_S)
        return made

    def audit(self, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
        rows: list[dict[str, Any]] = self._handle("State", "state").audit.remote(limit).result(timeout_s=CALL_TIMEOUT_S)
        return rows

    def usage(self, query: UsageQuery) -> list[dict[str, Any]] | None:
        """Sums of the usage ledger; None while state is not there."""
        try:
            call = self._handle("State", "state").usage.remote(query)
            rows: list[dict[str, Any]] = call.result(timeout_s=CALL_TIMEOUT_S)
        except Exception:
            return None
        return rows

    def backup(self) -> bytes:
        """What `deployments.state_backup` makes of the running state.

        Raises:
            BackupError: state is not there, or a file of it is damaged.
        """
        try:
            call = self._handle("State", "state").backup.remote()
            content: bytes = call.result(timeout_s=BACKUP_TIMEOUT_S)
        except Exception as error:
            raise BackupError(f"the cluster's state does not answer, or cannot be copied: {error}") from error
        return content

    def first_replica(self, application: str) -> dict[str, Any]:
        """What the application's replica tells gateways: its URL and token among others."""
        call = self._handle("Replica", application).record_replica_metadata.remote()
        metadata: dict[str, Any] = call.result(timeout_s=CALL_TIMEOUT_S)
        return metadata

    def _handle(self, deployment: str, application: str) -> Any:
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.CRITICAL)  # importing it has set the level to INFO
        if application not in self._handles:
            self._handles[application] = serve.get_deployment_handle(deployment, application)
        return self._handles[application]

    def nodes(self) -> list[Node]:
        """With all that each has."""
        import ray

        return [_node(node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]]

    def free_nodes(self) -> list[Node]:
        """With what nothing on them has reserved."""
        from ray._private.state import available_resources_per_node

        return [_node(node_id, free) for node_id, free in available_resources_per_node().items()]


def _node(name: str, resources: Mapping[str, float]) -> Node:
    return Node(name, resources.get("GPU", 0.0), resources.get("CPU", 0.0))


def _forget_controller() -> None:
    """Serve keeps its controller for the next connection that has the same job's number, though of another cluster."""
    from ray.serve import context

    context._disconnect()


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """`ray.init` takes SIGTERM for itself, and `baryon up` would end without ending its cluster."""
    for number, handler in handlers.items():
        signal.signal(number, handler)
