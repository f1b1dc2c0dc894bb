"""Remembers the latest of what was computed, and no more of it than fits."""

import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import fields, is_dataclass
from typing import Generic, TypeVar

ENTRY_BYTES = 250

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Of at most `most_bytes`, however large the values are: what was asked for the longest ago goes first, and what is
    larger than all of it is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: Callable[[], Hashable], make: Callable[[], Awaitable[Value]]) -> Value:
        """What `make` made when it was first asked for; nothing is kept of one that fails, nor if `key` is another by
        then: it is not known for which of the two it was made.
        """
        asked = key()
        if asked in self._kept:
            self._kept.move_to_end(asked)
            return self._kept[asked][0]
        value = await make()
        if key() == asked:
            self._keep(asked, value)
        return value

    def _keep(self, key: Hashable, value: Value) -> None:
        self._bytes -= self._kept.pop(key, (value, 0))[1]
        entry_bytes = ENTRY_BYTES + size_bytes((key, value))
        if entry_bytes > self._most_bytes:
            return
        self._kept[key] = value, entry_bytes
        self._bytes += entry_bytes
        while self._bytes > self._most_bytes:
            _, (_, forgotten_bytes) = self._kept.popitem(last=False)
            self._bytes -= forgotten_bytes


def size_bytes(value: object) -> int:
    """What it takes in memory with all that it is made of. What stands in it twice counts twice."""
    left, total_bytes = [value], 0
    while left:
        one = left.pop()
        total_bytes += sys.getsizeof(one)
        left += parts_of(one)
    return total_bytes


def parts_of(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return ()
