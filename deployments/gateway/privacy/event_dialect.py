"""What the events of a stream have of its texts, in each API's dialect."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

Document = dict[str, Any]


class Piece(NamedTuple):
    """More of the text `key`: `holder[field]`. `in_json`: the text is JSON whatever was asked for."""

    key: Hashable
    holder: Document
    field: str
    in_json: bool = False


class Dialect(Protocol):
    def pieces(self, document: Document) -> Iterator[Piece]:
        """Of one event."""

    def ending(self, document: Document, held: Iterable[Hashable]) -> list[Hashable]:
        """Which of the texts that hold something back end with this event."""

    def say_rest(self, document: Document, key: Hashable, rest: str) -> Document | None:
        """Put the rest of a text into the event that ends it, or into one that goes before it, which is returned."""
