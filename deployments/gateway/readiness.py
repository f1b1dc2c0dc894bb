"""When a new gateway may be sent clients: not before what it is to serve has come up once.

A cluster that replaces another has gateways long before engines; whoever asked them would get 503 beside neighbours
that serve. Once ready it stays so. After `PATIENCE_S` one model that answers is enough: a model that does not start
must not keep gateways of all others away.
"""

import time
from collections.abc import Callable, Iterable

from deployments.gateway.catalogue import ModelCard
from deployments.gateway.replica_table import ReplicaTable

PATIENCE_S = 600.0


class Readiness:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s = clock()
        self._is_ready = False

    def seen(self, cards: Iterable[ModelCard], replicas: ReplicaTable) -> bool:
        """Models that begin at zero are woken by a request, so nobody waits for them."""
        if not self._is_ready:
            always = [bool(replicas.of(card.name)) for card in cards if card.wake is None]
            late = self._clock() > self._began_s + PATIENCE_S
            self._is_ready = all(always) or (late and any(always))
        return self._is_ready
