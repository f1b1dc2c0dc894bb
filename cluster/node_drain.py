"""Before a pod goes: Ray moves what runs on its node to others, and this waits until it has gone.

KubeRay sets no preStop, and a SIGTERM ends Ray at once. `python -m cluster.node_drain --within-s 300`
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

POLL_S = 1.0
RPC_TIMEOUT_S = 10.0
REPLICA_TITLE = b"ray::ServeReplica:"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--within-s", type=float, required=True)
    within_s = parser.parse_args().within_s
    began_s = time.monotonic()
    if request_drain(within_s):
        wait_until_empty(began_s + within_s, replicas_here)


def request_drain(within_s: float) -> bool:
    """Whether Ray drains this node now; not if the cluster is gone, and nothing can be moved."""
    import ray
    from ray._private.services import canonicalize_bootstrap_address_or_die
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    try:
        gcs = GcsClient(address=canonicalize_bootstrap_address_or_die(None))
        node = node_at(str(ray.util.get_node_ip_address()), gcs.get_all_node_info(timeout=RPC_TIMEOUT_S))
        if node is None:
            return False
        deadline_ms = int((time.time() + within_s) * 1000)
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, why = gcs.drain_node(node, reason, "the pod is being stopped", deadline_ms)
    except (ConnectionError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        print(f"no drain: {error}")
        return False
    print("draining" if accepted else f"no drain: {why}")
    return bool(accepted)


def node_at(address: str, nodes: Mapping[Any, Any]) -> str | None:
    """The id of the node that lives there; a dead one may have had the address before."""
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    living = (i for i, n in nodes.items() if n.node_manager_address == address and n.state == GcsNodeInfo.ALIVE)
    found = next(living, None)
    return None if found is None else str(found.hex())


def wait_until_empty(
    deadline_s: float,
    here: Callable[[], int],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    while here() and clock() < deadline_s:
        sleep(POLL_S)


def replicas_here(proc: Path = Path("/proc")) -> int:
    """Processes of this pod that are a Serve replica."""
    return sum(_title(entry).startswith(REPLICA_TITLE) for entry in proc.iterdir() if entry.name.isdigit())


def _title(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    main()
