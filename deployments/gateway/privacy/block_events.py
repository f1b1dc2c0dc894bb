"""Messages and responses: a text comes in deltas and ends with an event of its own."""

from collections.abc import Hashable, Iterable, Iterator

from deployments.gateway.privacy.event_dialect import Document, Piece

BLOCK_DELTA, BLOCK_STOP = "content_block_delta", "content_block_stop"
BLOCK_FIELDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
DELTA, DONE = ".delta", ".done"
PLACE = ("item_id", "output_index", "content_index", "summary_index")


class MessageEvents:
    """Texts are (block, kind of delta)."""

    def pieces(self, document: Document) -> Iterator[Piece]:
        delta = document.get("delta")
        if document.get("type") != BLOCK_DELTA or not isinstance(delta, dict):
            return
        kind = delta.get("type")
        field = BLOCK_FIELDS.get(str(kind), "")
        if isinstance(delta.get(field), str):
            yield Piece((document.get("index"), kind), delta, field, in_json=field == "partial_json")

    def ending(self, document: Document, held: Iterable[Hashable]) -> list[Hashable]:
        if document.get("type") != BLOCK_STOP:
            return []
        return [key for key in held if isinstance(key, tuple) and key[0] == document.get("index")]

    def say_rest(self, document: Document, key: Hashable, rest: str) -> Document:
        assert isinstance(key, tuple)
        index, kind = key
        return {"type": BLOCK_DELTA, "index": index, "delta": {"type": kind, BLOCK_FIELDS[kind]: rest}}


class ResponseEvents:
    """Texts are (what it is a delta of, *where it stands)."""

    def pieces(self, document: Document) -> Iterator[Piece]:
        kind = document.get("type")
        if isinstance(kind, str) and kind.endswith(DELTA) and isinstance(document.get("delta"), str):
            of = kind.removesuffix(DELTA)
            yield Piece((of, *place_of(document)), document, "delta", in_json=of.endswith("arguments"))

    def ending(self, document: Document, held: Iterable[Hashable]) -> list[Hashable]:
        kind = document.get("type")
        if not isinstance(kind, str) or not kind.endswith(DONE):
            return []
        text = (kind.removesuffix(DONE), *place_of(document))
        return [key for key in held if key == text]

    def say_rest(self, document: Document, key: Hashable, rest: str) -> Document:
        assert isinstance(key, tuple)
        places = {name: document[name] for name in (*PLACE, "sequence_number") if name in document}
        return {"type": key[0] + DELTA, **places, "delta": rest}


def place_of(document: Document) -> tuple[object, ...]:
    return tuple(document.get(name) for name in PLACE)
