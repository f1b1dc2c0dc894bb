"""Requests that wait for a replica of a model that has none: a line for each model, first come first served."""

import asyncio
import contextlib
from collections import OrderedDict

from deployments.gateway.errors import room_is_out_of_memory, shutting_down

MAX_BYTES = 64 * 2**20


class Place:
    """One request's place in the line."""

    __slots__ = ("_called", "_line", "is_dismissed", "model", "size_bytes")

    def __init__(self, model: str, size_bytes: int, line: "OrderedDict[Place, None]") -> None:
        self.model = model
        self.size_bytes = size_bytes
        self._line = line
        self._called = asyncio.Event()
        self.is_dismissed = False

    @property
    def is_first(self) -> bool:
        return next(iter(self._line)) is self

    def call(self) -> None:
        """There is something to look at."""
        self._called.set()

    async def called(self, within_s: float) -> None:
        """Wait for a call, at most so long.

        Raises:
            GatewayError: the room is closed.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._called.wait()
        self._called.clear()
        if self.is_dismissed:
            raise shutting_down()


class WaitingRoom:
    """One gateway's. Only the first of a line is called; as it leaves, the next is, so nobody is overtaken.

    `news` is set when the autoscaler should hear of it at once: a line begins, or somebody would have liked to join it.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.news = asyncio.Event()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lines: dict[str, OrderedDict[Place, None]] = {}
        self._turned_away: set[str] = set()
        self._is_closed = False

    def waiting(self, model: str) -> int:
        return len(self._lines.get(model, ()))

    def join(self, model: str, size_bytes: int, retry_after_s: int) -> Place:
        """A place at the end of the line, to be left once.

        Raises:
            GatewayError: the room is closed, or those who wait hold as many bytes as may be.
        """
        if self._is_closed:
            raise shutting_down()
        if self._bytes + size_bytes > self._max_bytes:
            raise room_is_out_of_memory(model, self._max_bytes, retry_after_s)
        line = self._lines.setdefault(model, OrderedDict())
        place = Place(model, size_bytes, line)
        line[place] = None
        self._bytes += size_bytes
        if len(line) == 1:
            self.news.set()
        return place

    def leave(self, place: Place) -> None:
        line = self._lines[place.model]
        del line[place]
        self._bytes -= place.size_bytes
        if line:
            self.call_first(place.model)
        else:
            del self._lines[place.model]

    def call_first(self, model: str) -> None:
        """Something has changed for this model: there may be room."""
        line = self._lines.get(model)
        if line:
            next(iter(line)).call()

    def call_all(self) -> None:
        """Something has changed that may concern any model."""
        for model in self._lines:
            self.call_first(model)

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
        for line in self._lines.values():
            for place in line:
                place.is_dismissed = True
                place.call()
