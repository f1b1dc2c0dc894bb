"""Before the head's pod or state's goes: what still drains on other nodes needs both, so this waits for it.

When a whole cluster ends, all its pods are told at once. `python -m cluster.others_drain --within-s 315`
"""

import argparse
import time
from collections.abc import Callable

from cluster.node_drain import POLL_S, RPC_TIMEOUT_S

TO_BE_TOLD_S = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--within-s", type=float, required=True)
    within_s = parser.parse_args().within_s
    wait_for_others(within_s, draining_nodes())


def wait_for_others(
    within_s: float,
    draining: Callable[[], int],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Others have `TO_BE_TOLD_S` to begin: where this pod alone goes, nobody does, and that is all it costs."""
    began_s = clock()
    while clock() - began_s < within_s:
        if not draining() and clock() - began_s >= TO_BE_TOLD_S:
            return
        sleep(POLL_S)


def draining_nodes() -> Callable[[], int]:
    """How many nodes Ray drains; none once the cluster cannot be asked."""
    from ray._private.services import canonicalize_bootstrap_address_or_die
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import RayError

    gone = (ConnectionError, RuntimeError, TimeoutError, RayError)
    try:
        gcs = GcsClient(address=canonicalize_bootstrap_address_or_die(None))
    except gone as error:
        print(f"nobody to wait for: {error}")
        return lambda: 0

    def count() -> int:
        try:
            return len(gcs.get_draining_nodes(timeout=RPC_TIMEOUT_S))
        except gone:
            return 0

    return count


if __name__ == "__main__":
    main()
