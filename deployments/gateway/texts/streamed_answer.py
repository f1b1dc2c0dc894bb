"""The texts of an answer that comes as a stream of events, put together as they pass, until there are enough."""

from collections.abc import Hashable, Iterator
from typing import Any

from deployments.gateway.privacy.choice_events import CALL, choices_of
from deployments.gateway.privacy.event_dialect import Document
from deployments.gateway.privacy.event_restorer import DATA, DIALECTS, EVENT_END, document_in
from deployments.gateway.texts.parts import Part, name_in, without_end

LARGEST_EVENT_BYTES = 64 * 1024
CALLS = frozenset({CALL, "input_json_delta", "response.function_call_arguments"})


class StreamedAnswer:
    """What follows after `most_bytes` of text is not looked at any more."""

    def __init__(self, path: bytes, most_bytes: int) -> None:
        self._dialect = DIALECTS[path]() if path in DIALECTS else None
        self._most_bytes = most_bytes
        self._bytes = 0
        self._incomplete = b""
        self._texts: dict[Hashable, list[str]] = {}
        self._called: dict[Hashable, str] = {}

    @property
    def has_enough(self) -> bool:
        return self._bytes > self._most_bytes

    def feed(self, data: bytes) -> None:
        """Of an event larger than any with text, the rest is not waited for."""
        if self._dialect is None or self.has_enough:
            return
        *events, self._incomplete = (self._incomplete + data).split(EVENT_END)
        if len(self._incomplete) > LARGEST_EVENT_BYTES:
            self._incomplete = b""
        for event in events:
            for line in event.split(b"\n"):
                document = document_in(line[len(DATA) :]) if line.startswith(DATA) else None
                if document is not None:
                    self._hear(document)

    def parts(self) -> tuple[list[Part], bool]:
        """In the order in which they began; and whether something is left out."""
        said = (Part(self._of(key), "".join(pieces)) for key, pieces in self._texts.items() if any(pieces))
        return without_end(said, self._most_bytes)

    def _hear(self, document: Document) -> None:
        assert self._dialect is not None
        self._called |= called(document)
        for piece in self._dialect.pieces(document):
            text = piece.holder[piece.field]
            self._texts.setdefault(piece.key, []).append(text)
            self._bytes += len(text.encode())

    def _of(self, key: Hashable) -> str:
        words = [one for one in key if isinstance(one, str)] if isinstance(key, tuple) else []
        field = words[0] if words else "text"
        if field in CALLS:
            return f"call {self._called.get(key, '')}".rstrip()
        if "reason" in field or "think" in field:
            return "reasoning"
        return "refusal" if "refusal" in field else "assistant"


def called(document: Document) -> dict[Hashable, str]:
    """Names of tools that an event says, by the text that their arguments are."""
    return {key: name_in(function, "name") for key, function in functions(document) if name_in(function, "name")}


def functions(document: Document) -> Iterator[tuple[Hashable, dict[str, Any]]]:
    for choice in choices_of(document):
        delta = choice.get("delta")
        for call in (delta.get("tool_calls") or ()) if isinstance(delta, dict) else ():
            yield (choice.get("index"), CALL, call.get("index")), call.get("function") or {}
    block, item = document.get("content_block"), document.get("item")
    if isinstance(block, dict):
        yield (document.get("index"), "input_json_delta"), block
    if isinstance(item, dict):
        yield ("response.function_call_arguments", item.get("id"), document.get("output_index"), None, None), item
