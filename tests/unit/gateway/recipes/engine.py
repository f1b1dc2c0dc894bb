"""An engine that answers chats, counts tokens as bytes, and remembers what it was asked."""

from collections.abc import Callable
from typing import Any

import orjson

from tests.unit.gateway.scripted_engine import EVENT_STREAM, Exchange

CONTEXT_TOKENS = 1000
Reply = Callable[[dict[str, Any]], str]


class ChatEngine:
    """`reply` to each chat; `asked` as it came, by path."""

    def __init__(self, reply: Reply | str = "Fine.", finish_reason: str = "stop") -> None:
        self._reply = reply
        self._finish_reason = finish_reason
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def chats(self) -> list[dict[str, Any]]:
        return [document for path, document in self.asked if path == "/v1/chat/completions"]

    async def __call__(self, exchange: Exchange) -> None:
        path = exchange.head.split(b" ", 2)[1].decode()
        document = orjson.loads(exchange.body)
        self.asked.append((path, document))
        size = sum(len(message["content"].encode()) for message in document["messages"])
        if path == "/tokenize":
            answer(exchange, {"count": size, "max_model_len": CONTEXT_TOKENS, "tokens": []})
        elif size + document["max_tokens"] > CONTEXT_TOKENS:
            refuse(exchange, f"This model's maximum context length is {CONTEXT_TOKENS} tokens.")
        elif document.get("stream"):
            stream(exchange, self._text(document))
        else:
            choice = {"message": {"content": self._text(document)}, "finish_reason": self._finish_reason}
            answer(exchange, {"choices": [choice], "usage": usage(size)})

    def _text(self, document: dict[str, Any]) -> str:
        return self._reply if isinstance(self._reply, str) else self._reply(document)


def usage(prompt_tokens: int) -> dict[str, Any]:
    cached = {"cached_tokens": 1}
    return {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "prompt_tokens_details": cached}


def answer(exchange: Exchange, document: dict[str, Any], status: bytes = b"200 OK") -> None:
    body = orjson.dumps(document)
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    exchange.writer.write(head % (status, len(body)) + body)


def refuse(exchange: Exchange, message: str) -> None:
    answer(exchange, {"error": {"message": message, "code": 400}}, b"400 Bad Request")


def stream(exchange: Exchange, text: str) -> None:
    exchange.writer.write(EVENT_STREAM)
    for word in text.split():
        choice = {"index": 0, "delta": {"content": word + " "}}
        exchange.chunk(b'data: {"choices":[%b],"usage":{"prompt_tokens":9}}\n\n' % orjson.dumps(choice))
    exchange.chunk(b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n')
    exchange.chunk(b"data: [DONE]\n\n")
    exchange.writer.write(b"0\r\n\r\n")
