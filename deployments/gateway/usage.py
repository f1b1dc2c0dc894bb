"""What an engine says of a finished request, read from the end of its answer in any of its dialects."""

import re
from dataclasses import dataclass
from typing import Any

import orjson

USAGE = re.compile(rb'"usage"\s*:\s*\{')
METRICS = re.compile(rb'"metrics"\s*:\s*\{')
ASK = b'{"stream_options":{"include_usage":true},'
NO_CHOICES = b'"choices":[]'
LARGEST_USAGE_BYTES = 16 * 1024
STREAMS_WITH_OPTIONS = frozenset({b"/v1/chat/completions", b"/v1/completions"})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, and the engine's own time to first token where it tells. None where it says nothing."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    ttft_ms: float | None = None


def read_usage(tail: bytes) -> Usage | None:
    """From the last usage object in `tail`; None if there is none that can be read."""
    usage = _last_object(USAGE, tail)
    if usage is None:
        return None
    prompt, output = (_first(usage, *names) for names in (PROMPT_NAMES, OUTPUT_NAMES))
    if not isinstance(prompt, int) or not isinstance(output, int):
        return None
    details = _first(usage, "prompt_tokens_details", "input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("cache_read_input_tokens")
    metrics = _last_object(METRICS, tail) or {}
    ttft = metrics.get("time_to_first_token_ms")
    return Usage(
        prompt,
        output,
        cached if isinstance(cached, int) else None,
        float(ttft) if isinstance(ttft, int | float) else None,
    )


PROMPT_NAMES = ("prompt_tokens", "input_tokens")
OUTPUT_NAMES = ("completion_tokens", "output_tokens")


def _first(document: dict[str, Any], *names: str) -> Any:
    return next((document[name] for name in names if name in document), None)


def _last_object(pattern: re.Pattern[bytes], text: bytes) -> dict[str, Any] | None:
    """Neither object holds strings with braces: they are numbers all through."""
    found = None
    for found in pattern.finditer(text):  # noqa: B007
        pass
    if found is None:
        return None
    begin = found.end() - 1
    depth = 0
    for end in range(begin, len(text)):
        depth += (text[end : end + 1] == b"{") - (text[end : end + 1] == b"}")
        if not depth:
            try:
                document = orjson.loads(text[begin : end + 1])
            except orjson.JSONDecodeError:
                return None
            return document if isinstance(document, dict) else None
    return None


def asking_for_usage(path: bytes, body: bytes, document: dict[str, Any]) -> tuple[bytes, bool]:
    """The body that makes the engine tell its usage in a stream, and whether that is more than the client asked for."""
    if not document.get("stream") or path not in STREAMS_WITH_OPTIONS:
        return body, False
    options = document.get("stream_options")
    if "stream_options" not in document:
        return ASK + body[body.index(b"{") + 1 :], True
    if options is None or (isinstance(options, dict) and not options.get("include_usage")):
        asked = {**document, "stream_options": {**(options or {}), "include_usage": True}}
        return orjson.dumps(asked), True
    return body, False


class UsageStripper:
    """Takes the event that only says usage out of a stream whose client did not ask for it.

    An event is held back until it is whole, if it is not larger than any that says usage.
    """

    def __init__(self) -> None:
        self._incomplete = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What goes on to the client now, and the usage event if it came. An incomplete event waits for its end."""
        if self._incomplete:
            data = self._incomplete + data
            self._incomplete = b""
        if not data.endswith(b"\n\n"):
            complete = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
            if len(data) - complete <= LARGEST_USAGE_BYTES:
                data, self._incomplete = data[:complete], data[complete:]
        at = data.find(NO_CHOICES)
        while at >= 0:
            begin = max(0, data.rfind(b"\n\n", 0, at) + 2) if b"\n\n" in data[:at] else 0
            end = data.find(b"\n\n", at) + 2
            if end > 1 and data.startswith(b"data:", begin) and USAGE.search(data, begin, end):
                return data[:begin] + data[end:], data[begin:end]
            at = data.find(NO_CHOICES, at + 1)
        return data, b""

    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._incomplete
