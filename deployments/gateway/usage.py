"""What an engine says of a finished request, read from the end of its answer in any of its dialects."""

import re
from dataclasses import dataclass
from typing import Any

import orjson

USAGE = re.compile(rb'"usage"\s*:\s*\{')
METRICS = re.compile(rb'"metrics"\s*:\s*\{')
SO_FAR = b',"usage":{'
EVENT_END = b"\n\n"
LAST_OF_EVENT = b"}\n\n"
ASK = b'{"stream_options":{"include_usage":true,"continuous_usage_stats":true},'
NO_CHOICES = b'"choices":[]'
LARGEST_USAGE_BYTES = 16 * 1024
STREAMS_WITH_OPTIONS = frozenset({b"/v1/chat/completions", b"/v1/completions"})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, and how long the engine's stages took by its own clock. None where it says nothing.

    Embeddings have no output. vLLM calls `prefill_ms` time to first token, but counts it from when it has scheduled it.
    """

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    prefill_ms: float | None = None
    queue_ms: float | None = None
    decode_ms: float | None = None

    @property
    def ttft_ms(self) -> float | None:
        """Since the engine had it."""
        return None if self.prefill_ms is None else self.prefill_ms + (self.queue_ms or 0.0)


def read_usage(tail: bytes) -> Usage | None:
    """From the last usage object in `tail`; None if there is none that can be read."""
    usage = _last_object(USAGE, tail)
    if usage is None:
        return None
    prompt, output = (_first(usage, *names) for names in (PROMPT_NAMES, OUTPUT_NAMES))
    output = 0 if output is None else output
    if not isinstance(prompt, int) or not isinstance(output, int):
        return None
    details = _first(usage, "prompt_tokens_details", "input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("cache_read_input_tokens")
    metrics = _last_object(METRICS, tail) or {}
    prefill, queue, decode = (_ms(metrics.get(name)) for name in STAGE_NAMES)
    return Usage(prompt, output, cached if isinstance(cached, int) else None, prefill, queue, decode)


PROMPT_NAMES = ("prompt_tokens", "input_tokens")
OUTPUT_NAMES = ("completion_tokens", "output_tokens")
STAGE_NAMES = ("time_to_first_token_ms", "queue_time_ms", "generation_time_ms")


def _ms(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


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
    end = text.find(b"}", begin) + 1
    while end and text.count(b"{", begin, end) > text.count(b"}", begin, end):
        end = text.find(b"}", end) + 1
    try:
        document = orjson.loads(text[begin:end])
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True)
class UsageWanted:
    """What a client asked to be told in its stream: the usage `at_end`, the usage so far in `each` event."""

    at_end: bool
    each: bool


def asking_for_usage(path: bytes, body: bytes, document: dict[str, Any]) -> tuple[bytes, UsageWanted | None]:
    """The body that makes the engine tell its usage in each event of a stream, and what the client wants of that.

    None: the route has no such option, it is no stream, or its options are such that the engine will refuse them.
    """
    if not document.get("stream") or path not in STREAMS_WITH_OPTIONS:
        return body, None
    if "stream_options" not in document:
        return ASK + body[body.index(b"{") + 1 :], UsageWanted(at_end=False, each=False)
    options = document["stream_options"]
    if options is not None and not isinstance(options, dict):
        return body, None
    known = options or {}
    at_end = known.get("include_usage") is True
    wanted = UsageWanted(at_end, at_end and known.get("continuous_usage_stats") is True)
    asked = {**known, "include_usage": True, "continuous_usage_stats": True}
    return orjson.dumps({**document, "stream_options": asked}), wanted


class UsageStripper:
    """Takes out of a stream what says usage and its client did not ask for.

    An event is held back until it is whole, if it is not larger than any that says usage.
    """

    def __init__(self, wanted: UsageWanted) -> None:
        self._wanted = wanted
        self._incomplete = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """What goes on to the client now, the event that says the usage at the end if it came, and, as they came, the
        events of which something goes on and some say usage. An incomplete event waits for its end.
        """
        if self._incomplete or not data.endswith(EVENT_END):
            data = self._whole_events(data)
        at = data.find(SO_FAR)
        if at < 0:
            return data, b"", b""
        is_one_event = data.find(b"}", at) + 1 + len(LAST_OF_EVENT) == len(data)
        if is_one_event and not data.endswith(NO_CHOICES, 0, at):
            return data if self._wanted.each else data[:at] + LAST_OF_EVENT, b"", data
        return self._strip(data)

    def _whole_events(self, data: bytes) -> bytes:
        data = self._incomplete + data
        self._incomplete = b""
        if not data.endswith(EVENT_END):
            complete = data.rfind(EVENT_END) + 2 if EVENT_END in data else 0
            if len(data) - complete <= LARGEST_USAGE_BYTES:
                data, self._incomplete = data[:complete], data[complete:]
        return data

    def _strip(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        begin, end = last_usage(data)
        before, told, after = data[:begin], data[begin:end], data[end:]
        passed = before if self._wanted.each else without_usage_so_far(before)
        return (passed + told + after if self._wanted.at_end else passed + after), told, data

    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._incomplete


def without_usage_so_far(events: bytes) -> bytes:
    """Objects in it are numbers all through, so their braces can be counted."""
    at = events.find(SO_FAR)
    if at < 0:
        return events
    kept, begin = [], 0
    while at >= 0:
        end = events.find(b"}", at) + 1
        while end and events.count(b"{", at, end) > events.count(b"}", at, end):
            end = events.find(b"}", end) + 1
        if not end:
            break
        kept.append(events[begin:at])
        begin, at = end, events.find(SO_FAR, end)
    kept.append(events[begin:])
    return b"".join(kept)


def last_usage(data: bytes) -> tuple[int, int]:
    """Where the event is that only says usage; at the end, and empty, if there is none."""
    at = data.find(NO_CHOICES)
    while at >= 0:
        begin = max(0, data.rfind(b"\n\n", 0, at) + 2) if b"\n\n" in data[:at] else 0
        end = data.find(b"\n\n", at) + 2
        if end > 1 and data.startswith(b"data:", begin) and USAGE.search(data, begin, end):
            return begin, end
        at = data.find(NO_CHOICES, at + 1)
    return len(data), len(data)
