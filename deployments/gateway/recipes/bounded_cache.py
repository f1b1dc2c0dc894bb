"""Remembers the latest of what was computed, and no more of it than fits."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """What was asked for the longest ago goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: Callable[[], Hashable], make: Callable[[], Awaitable[Value]]) -> Value:
        """What `make` made when it was first asked for; nothing is kept of one that fails, nor if `key` is another by
        then: it is not known for which of the two it was made.
        """
        asked = key()
        if asked in self._kept:
            self._kept.move_to_end(asked)
            return self._kept[asked]
        value = await make()
        if key() == asked:
            self._kept[asked] = value
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value
