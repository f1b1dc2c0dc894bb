"""Streams as engines send them, of texts that are cut anywhere, and what a client reads out of them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

CHAT, COMPLETIONS = b"/v1/chat/completions", b"/v1/completions"
RESPONSES, MESSAGES = b"/v1/responses", b"/v1/messages"
PATHS = (CHAT, COMPLETIONS, RESPONSES, MESSAGES)
DONE = b"data: [DONE]\n\n"
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
Texts = dict[tuple[Any, ...], str]


def event(document: dict[str, Any], *, named: bool = False) -> bytes:
    name = f"event: {document['type']}\n".encode() if named else b""
    return name + b"data: " + orjson.dumps(document) + b"\n\n"


def stream(path: bytes, text: Sequence[str], arguments: Sequence[str]) -> list[bytes]:
    """One answer: its text in these pieces, and a call with arguments in those, where the route has calls."""
    made = {CHAT: chat, COMPLETIONS: completions, RESPONSES: responses, MESSAGES: messages}[path]
    return made(text, arguments)


def chat(text: Sequence[str], arguments: Sequence[str]) -> list[bytes]:
    """The last piece of the text comes with the end, as vLLM sends it, and the calls of a second choice."""

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**HEAD, "choices": [choice]})

    def call(piece: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}

    start = {"index": 0, "id": "c", "type": "function", "function": {"name": "send", "arguments": ""}}
    chunks = [chunk(0, {"role": "assistant", "content": ""}), chunk(1, {"tool_calls": [start]})]
    for place in range(max(len(text) - 1, len(arguments))):
        chunks += [chunk(0, {"content": text[place]})] if place < len(text) - 1 else []
        chunks += [chunk(1, call(arguments[place]))] if place < len(arguments) else []
    last = {"content": text[-1]} if text else {}
    return [*chunks, chunk(1, {}, "tool_calls"), chunk(0, last, "stop"), DONE]


def completions(text: Sequence[str], _: Sequence[str]) -> list[bytes]:
    chunks = [event({**HEAD, "choices": [{"index": 0, "text": piece, "finish_reason": None}]}) for piece in text]
    return [*chunks, event({**HEAD, "choices": [{"index": 0, "text": "", "finish_reason": "length"}]}), DONE]


def responses(text: Sequence[str], arguments: Sequence[str]) -> list[bytes]:
    said, called = "".join(text), "".join(arguments)
    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    call = {"item_id": "j", "output_index": 1}
    documents: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "r", "output": []}},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in text),
        {"type": "response.output_text.done", **place, "text": said},
        {"type": "response.content_part.done", **place, "part": {"type": "output_text", "text": said}},
        *({"type": "response.function_call_arguments.delta", **call, "delta": piece} for piece in arguments),
        {"type": "response.function_call_arguments.done", **call, "arguments": called},
        {"type": "response.completed", "response": {"output": [{"content": [{"text": said}]}, {"arguments": called}]}},
    ]
    return [event({**one, "sequence_number": number}, named=True) for number, one in enumerate(documents)]


def messages(text: Sequence[str], arguments: Sequence[str]) -> list[bytes]:
    def delta(index: int, kind: str, field: str, piece: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: piece}}

    documents: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(delta(0, "text_delta", "text", piece) for piece in text),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "f", "input": {}}},
        *(delta(1, "input_json_delta", "partial_json", piece) for piece in arguments),
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return [event(one, named=True) for one in documents]


def documents_in(data: bytes) -> list[dict[str, Any]]:
    """Of whole events."""
    assert data == b"" or data.endswith(b"\n\n")
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n") if line.startswith(b"data: ")]
    return [orjson.loads(line) for line in lines if line != b"[DONE]"]


def read(path: bytes, documents: Iterable[dict[str, Any]]) -> Texts:
    """As a client puts deltas together; what an event says of a whole text is beside it."""
    texts: defaultdict[tuple[Any, ...], str] = defaultdict(str)
    for document in documents:
        for choice in document.get("choices", ()):
            delta = choice.get("delta", {})
            texts["text", choice["index"]] += delta.get("content") or choice.get("text") or ""
            for call in delta.get("tool_calls", ()):
                texts["arguments", choice["index"]] += call["function"].get("arguments", "")
        delta = document.get("delta")
        if path == MESSAGES and document["type"] == "content_block_delta":
            texts["text", document["index"]] += delta.get("text", "")
            texts["arguments", document["index"]] += delta.get("partial_json", "")
        if path == RESPONSES and isinstance(delta, str):
            texts[document["type"], document["output_index"]] += delta
        if path == RESPONSES and document["type"].endswith(".done"):
            texts[document["type"],] = str(document.get("text") or document.get("arguments") or document.get("part"))
        if path == RESPONSES and document["type"] == "response.completed":
            texts["completed",] = str(document["response"]["output"])
    return dict(texts)
