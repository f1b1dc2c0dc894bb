"""Restores a stream of events: an event whose text ends in what may begin a placeholder keeps that for a later one."""

from collections.abc import Hashable

import orjson

from deployments.gateway.privacy.block_events import MessageEvents, ResponseEvents
from deployments.gateway.privacy.choice_events import ChatEvents, CompletionEvents
from deployments.gateway.privacy.event_dialect import Dialect, Document, Piece
from deployments.gateway.privacy.restoration import HeldText, Restoration

EVENT_END = b"\n\n"
DATA = b"data:"
BRACKETS = (b"<", b"\\u003")
SEQUENCE = "sequence_number"
DIALECTS: dict[bytes, type[Dialect]] = {
    b"/v1/chat/completions": ChatEvents,
    b"/v1/completions": CompletionEvents,
    b"/v1/messages": MessageEvents,
    b"/v1/responses": ResponseEvents,
}


class EventRestorer:
    """One stream. What has no `<` in it and continues nothing that waits is passed on as it came."""

    def __init__(self, restoration: Restoration, path: bytes) -> None:
        self._restoration = restoration
        self._dialect = DIALECTS[path]()
        self._texts: dict[Hashable, HeldText] = {}
        self._incomplete = b""
        self._added = 0

    def feed(self, data: bytes) -> bytes:
        """What goes on to the client now: whole events."""
        waits = self._incomplete or self._texts or self._added
        if not waits and data.endswith(EVENT_END) and not any(bracket in data for bracket in BRACKETS):
            return data
        data = self._incomplete + data
        complete = data.rfind(EVENT_END) + len(EVENT_END) if EVENT_END in data else 0
        self._incomplete = data[complete:]
        return b"".join(map(self._event, data[:complete].split(EVENT_END)[:-1]))

    def rest(self) -> bytes:
        """An event that never ended."""
        rest, self._incomplete = self._incomplete, b""
        return rest

    def _event(self, event: bytes) -> bytes:
        lines = event.split(b"\n")
        at = next((number for number, line in enumerate(lines) if line.startswith(DATA)), None)
        document = document_in(lines[at][len(DATA) :]) if at is not None else None
        if at is None or document is None:
            return event + EVENT_END
        before = self._restored(document)
        lines[at] = DATA + b" " + orjson.dumps(document)
        return b"".join(map(extra_event, before)) + b"\n".join(lines) + EVENT_END

    def _restored(self, document: Document) -> list[Document]:
        """Changes the document of an event; what has to go before it."""
        pieces = list(self._dialect.pieces(document))
        told = {id(piece.holder): piece.field for piece in pieces}
        for piece in pieces:
            piece.holder[piece.field] = self._piece(piece)
        self._others(document, told)
        before = []
        for key in self._dialect.ending(document, list(self._texts)):
            extra = self._dialect.say_rest(document, key, self._texts.pop(key).rest())
            if extra is not None:
                before.append(extra)
        self._count(document, before)
        return before

    def _piece(self, piece: Piece) -> str:
        held = self._texts.get(piece.key)
        if held is None:
            in_json = piece.in_json or self._restoration.is_json(piece.field)
            held = self._texts[piece.key] = HeldText(self._restoration, in_json=in_json)
        text = held.feed(piece.holder[piece.field])
        if not held.holds:
            del self._texts[piece.key]
        return text

    def _others(self, document: Document, told: dict[int, str]) -> None:
        """Texts that are whole already, such as those of an event that says what came."""
        for key, value in document.items():
            if told.get(id(document)) == key:
                continue
            if isinstance(value, dict):
                self._others(value, told)
            elif isinstance(value, list):
                for number, one in enumerate(value):
                    if isinstance(one, dict):
                        self._others(one, told)
                    elif isinstance(one, str):
                        value[number] = self._restoration.text(one, in_json=self._restoration.is_json(key))
            elif isinstance(value, str):
                document[key] = self._restoration.text(value, in_json=self._restoration.is_json(key))

    def _count(self, document: Document, before: list[Document]) -> None:
        """Events of responses are numbered."""
        if SEQUENCE not in document:
            return
        for extra in before:
            extra[SEQUENCE] += self._added
            self._added += 1
        document[SEQUENCE] += self._added


def document_in(data: bytes) -> Document | None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def extra_event(document: Document) -> bytes:
    """Both APIs that need one name an event after its type."""
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), orjson.dumps(document))
