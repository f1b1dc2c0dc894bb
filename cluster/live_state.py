"""The state deployment and the replicas of a running cluster, asked from a command line."""

import contextlib
import os
import signal
from typing import Any

from cluster.ray_head import ENVIRONMENT

CALL_TIMEOUT_S = 5.0


class LiveState:
    """A connection to Ray for as long as the `with` block lasts."""

    def __init__(self, gcs_address: str) -> None:
        self._gcs_address = gcs_address

    def __enter__(self) -> "LiveState":
        os.environ.update(ENVIRONMENT)
        import ray

        ours = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        ray.init(
            address=self._gcs_address,
            namespace="serve",
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
        )
        _restore(ours)
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        with contextlib.suppress(Exception):
            ray.shutdown()

    def snapshot(self) -> dict[str, Any] | None:
        """Models, replicas and failures as state knows them; None while state is not there."""
        from ray import serve

        try:
            handle = serve.get_deployment_handle("State", "state")
            snapshot: dict[str, Any] = handle.snapshot.remote().result(timeout_s=CALL_TIMEOUT_S)
        except Exception:
            return None
        return snapshot

    def first_replica(self, application: str) -> dict[str, Any]:
        """What the application's replica tells gateways: its URL and token among others."""
        from ray import serve

        handle = serve.get_deployment_handle("Replica", application)
        metadata: dict[str, Any] = handle.record_replica_metadata.remote().result(timeout_s=CALL_TIMEOUT_S)
        return metadata

    def nodes(self) -> list[dict[str, Any]]:
        import ray

        return [node for node in ray.nodes() if node["Alive"]]


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """`ray.init` takes SIGTERM for itself, and `baryon up` would end without ending its cluster."""
    for number, handler in handlers.items():
        signal.signal(number, handler)
