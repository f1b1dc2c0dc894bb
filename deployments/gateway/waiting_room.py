"""Requests that wait for a replica, of a model that has none or none with room: a fair queue for each model."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection

from deployments.gateway.errors import GatewayError, room_is_full, room_is_out_of_memory, shutting_down
from deployments.gateway.tenants.fair_queue import Claim, FairQueue

MAX_BYTES = 64 * 2**20


class Place:
    """One request's place in the line."""

    __slots__ = ("_called", "_queue", "claim", "dismissal", "model")

    def __init__(self, model: str, claim: Claim, queue: "FairQueue[Place]") -> None:
        self.model = model
        self.claim = claim
        self.dismissal: GatewayError | None = None
        self._queue = queue
        self._called = asyncio.Event()

    @property
    def is_first(self) -> bool:
        return self._queue.first() is self

    def call(self) -> None:
        """There is something to look at."""
        self._called.set()

    def dismiss(self, why: GatewayError) -> None:
        self.dismissal = why
        self.call()

    async def called(self, within_s: float) -> None:
        """Wait for a call, at most so long.

        Raises:
            GatewayError: the room is closed, or somebody else has this place now.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._called.wait()
        self._called.clear()
        if self.dismissal is not None:
            raise self.dismissal


class WaitingRoom:
    """One gateway's. Only the first of a line is called; as it leaves, the next is, so nobody is overtaken unfairly.

    `news` is set when the autoscaler should hear of it at once: the first waits for a model to wake, or somebody would
    have liked to.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.news = asyncio.Event()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._queues: dict[str, FairQueue[Place]] = {}
        self._turned_away: set[str] = set()
        self._is_closed = False

    def queue(self, model: str) -> FairQueue[Place]:
        found = self._queues.get(model)
        if found is None:
            found = self._queues[model] = FairQueue()
        return found

    def waiting(self, model: str) -> int:
        found = self._queues.get(model)
        return len(found) if found is not None else 0

    def join(self, model: str, claim: Claim, max_waiting: int, retry_after_s: int, *, wakes: bool) -> Place:
        """A place in the line, to be left once. Where there is none left, the last of whoever has most there goes.

        Raises:
            GatewayError: the room is closed, or nobody has more there than the newcomer's tenant.
        """
        if self._is_closed:
            raise shutting_down()
        queue = self.queue(model)
        if len(queue) >= max_waiting:
            why = room_is_full(model, len(queue), retry_after_s)
            self._dismiss_one(claim.tenant, queue.requests_by_tenant() + Counter({claim.tenant: 1}), [queue], why)
        while self._bytes + claim.size_bytes > self._max_bytes:
            why = room_is_out_of_memory(model, self._max_bytes, retry_after_s)
            held = sum((q.bytes_by_tenant() for q in self._queues.values()), Counter({claim.tenant: claim.size_bytes}))
            self._dismiss_one(claim.tenant, held, list(self._queues.values()), why)
        place = Place(model, claim, queue)
        queue.join(place, claim)
        self._bytes += claim.size_bytes
        if len(queue) == 1:
            queue.drain.began(time.monotonic())
            if wakes:
                self.news.set()
        return place

    def leave(self, place: Place) -> None:
        if place.dismissal is None:
            self._remove(place)
        self.call_first(place.model)

    def call_first(self, model: str) -> None:
        """Something has changed for this model: there may be room."""
        first = self._queues[model].first() if model in self._queues else None
        if first is not None:
            first.call()

    def call_all(self) -> None:
        """Something has changed that may concern any model."""
        for model in self._queues:
            self.call_first(model)

    def keep_models(self, names: Collection[str]) -> None:
        """Forget the others, once nobody waits for them any more."""
        self._queues = {model: queue for model, queue in self._queues.items() if model in names or len(queue)}

    def turn_away(self, model: str) -> None:
        """Somebody may not wait, but wants the model all the same."""
        if model not in self._turned_away:
            self._turned_away.add(model)
            self.news.set()

    def take_wanting(self, model: str) -> int:
        """How many want a replica of this model: those who wait, and at least one if any was turned away since."""
        turned_away = model in self._turned_away
        self._turned_away.discard(model)
        return max(self.waiting(model), int(turned_away))

    def close(self) -> None:
        """Send away who waits, and whoever comes: this gateway shuts down."""
        self._is_closed = True
        for queue in self._queues.values():
            for place in list(queue):
                self._remove(place)
                place.dismiss(shutting_down())

    def _remove(self, place: Place) -> None:
        self._queues[place.model].leave(place)
        self._bytes -= place.claim.size_bytes

    def _dismiss_one(
        self, newcomer: str, held: Counter[str], queues: list[FairQueue[Place]], why: GatewayError
    ) -> None:
        """Of the tenant that holds most the request that would go last, or the newcomer itself."""
        tenant = max(held, key=lambda name: (held[name], name == newcomer), default=newcomer)
        if tenant == newcomer:
            raise why
        last = max(queues, key=lambda queue: queue.bytes_by_tenant()[tenant]).last_of(tenant)
        self._remove(last)
        last.dismiss(why)
