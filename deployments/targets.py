"""How many replicas each model is to have: written by state, read in Serve's controller without ever waiting.

Through Ray's key-value store: it is there before any replica, and outlives state and the controller. A thread of its
own reads it, so that the controller's loop finds the last word in memory.
"""

import logging
import threading
import time
from collections.abc import Mapping
from functools import cache

import orjson
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

logger = logging.getLogger(__name__)

NAMESPACE = b"baryon"
KEY = b"targets"
READ_PERIOD_S = 0.5


def write_targets(targets: Mapping[str, int]) -> None:
    """`targets`: replicas by Serve application. Blocks for a round trip to Ray's GCS."""
    _internal_kv_put(KEY, orjson.dumps(dict(targets)), overwrite=True, namespace=NAMESPACE)


def read_targets() -> dict[str, int]:
    """Empty if nothing was ever written. Blocks for a round trip to Ray's GCS.

    Raises:
        ValueError: what is there is not a mapping of names to counts.
    """
    written = _internal_kv_get(KEY, namespace=NAMESPACE)
    targets = orjson.loads(written) if written else {}
    if not isinstance(targets, dict) or not all(isinstance(n, int) and n >= 0 for n in targets.values()):
        raise ValueError(f"not replicas by application: {written[:200]!r}")
    return targets


class FollowedTargets:
    """The last that could be read. While Ray's GCS is away, that is what counts."""

    def __init__(self) -> None:
        self._targets: dict[str, int] = {}
        self._is_lost = False
        threading.Thread(target=self._follow, name="baryon-targets", daemon=True).start()

    def of(self, application: str) -> int | None:
        """None if nothing is known of it yet."""
        return self._targets.get(application)

    def _follow(self) -> None:
        while True:
            try:
                self._targets = read_targets()
                self._is_lost = False
            except Exception as error:
                if not self._is_lost:
                    logger.warning("targets cannot be read, the last ones stay: %s", error)
                self._is_lost = True
            time.sleep(READ_PERIOD_S)


@cache
def followed_targets() -> FollowedTargets:
    """One for the process, whatever number of models it scales."""
    return FollowedTargets()
