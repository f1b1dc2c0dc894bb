"""Puts personal data back into an answer: that of its own request, where a placeholder of it stands. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from deployments.gateway.privacy.placeholders import LONGEST, PLACEHOLDER, UNFINISHED

PLACEHOLDER_BYTES = re.compile(PLACEHOLDER.pattern.encode())
JSON_FIELDS = frozenset({"arguments", "partial_json"})
TEXT_FIELDS = frozenset({"content", "text", "delta"})
JSON_FORMATS = frozenset({"json_object", "json_schema"})


@dataclass(frozen=True, slots=True)
class Restoration:
    """Of one request. `values`: what its placeholders stand for; `text_is_json`: what the model writes is to be JSON,
    so what is put into it is written as JSON writes strings.
    """

    values: Mapping[str, str]
    text_is_json: bool = False

    def text(self, text: str, *, in_json: bool = False) -> str:
        if "<" not in text:
            return text
        return PLACEHOLDER.sub(lambda match: self._value(match[0], in_json), text)

    def _value(self, placeholder: str, in_json: bool) -> str:
        value = self.values.get(placeholder)
        if value is None:
            return placeholder
        return orjson.dumps(value)[1:-1].decode() if in_json else value

    def body(self, body: bytes) -> bytes:
        """A whole answer. It may have megabytes of log-probabilities, which are not worth to be read for this."""
        is_escaped = b"\\u003" in body
        if b"<" not in body and not is_escaped:
            return body
        if not is_escaped and self.is_plain:
            return PLACEHOLDER_BYTES.sub(self._bytes, body)
        try:
            return orjson.dumps(self.document(orjson.loads(body)))
        except orjson.JSONDecodeError:
            return body

    @property
    def is_plain(self) -> bool:
        """Whether JSON writes all values as they are, however deep in strings within strings."""
        return all(orjson.dumps(value)[1:-1].decode() == value for value in self.values.values())

    def _bytes(self, match: re.Match[bytes]) -> bytes:
        value = self.values.get(match[0].decode())
        return match[0] if value is None else value.encode()

    def document(self, value: Any, *, in_json: bool = False) -> Any:
        if isinstance(value, str):
            return self.text(value, in_json=in_json)
        if isinstance(value, dict):
            return {self.text(key): self.document(inner, in_json=self.is_json(key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.document(inner, in_json=in_json) for inner in value]
        return value

    def is_json(self, field: str) -> bool:
        return field in JSON_FIELDS or (self.text_is_json and field in TEXT_FIELDS)


class HeldText:
    """One text that comes in pieces: what may be the beginning of a placeholder waits for its end."""

    __slots__ = ("_held", "_in_json", "_restoration")

    def __init__(self, restoration: Restoration, *, in_json: bool) -> None:
        self._restoration = restoration
        self._in_json = in_json
        self._held = ""

    @property
    def holds(self) -> bool:
        return bool(self._held)

    def feed(self, piece: str) -> str:
        text = self._held + piece
        begin = text.rfind("<", max(0, len(text) - LONGEST))
        if begin < 0 or UNFINISHED.fullmatch(text, begin) is None:
            begin = len(text)
        self._held = text[begin:]
        return self._restoration.text(text[:begin], in_json=self._in_json)

    def rest(self) -> str:
        """It is over: what waited is no placeholder."""
        held, self._held = self._held, ""
        return held


def asks_for_json(document: Mapping[str, Any]) -> bool:
    """Whether the text of the answer is to be JSON, by any of the ways to say so."""
    formats = [document.get("response_format")]
    for field in ("text", "output_config"):
        holder = document.get(field)
        formats.append(holder.get("format") if isinstance(holder, dict) else None)
    structured = document.get("structured_outputs")
    if isinstance(structured, dict) and any(structured.get(name) for name in ("json", "json_object")):
        return True
    return any(isinstance(one, dict) and one.get("type") in JSON_FORMATS for one in formats)
