"""`python -m tests.benchmarks.fake_engine PORT CHUNKS INTERVAL_MS`: an engine that costs nearly nothing.

Streams CHUNKS server-sent events of vLLM's size, one each INTERVAL_MS, on one timer for all streams; answers a request
without `"stream": true` at once. Each event says the usage so far to who asks for that. It exists to measure a
gateway's CPU, so its own must not matter.
"""

import asyncio
import sys
from typing import cast

import uvloop

EVENT = (
    b'data: {"id":"chatcmpl-0f1e2d3c4b5a69788796a5b4c3d2e1f0","object":"chat.completion.chunk","created":1795445459,'
    b'"model":"m","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null,'
    b'"token_ids":null}]}\n\n'
)
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
COUNTED_EVENT = EVENT.replace(
    b"}]}\n\n", b'}],"usage":{"prompt_tokens":9,"total_tokens":109,"completion_tokens":100}}\n\n'
)
COUNTED_CHUNK = b"%x\r\n%b\r\n" % (len(COUNTED_EVENT), COUNTED_EVENT)
LAST = b"data: [DONE]\n\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
BODY = (
    b'{"id":"chatcmpl-0","object":"chat.completion","created":1795445459,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2},'
    b'"metrics":{"time_to_first_token_ms":0.1,"generation_time_ms":0.1,"queue_time_ms":0.1}}'
)
UNARY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Ticker:
    def __init__(self, chunks: int, interval_s: float) -> None:
        self.chunks = chunks
        self.interval_s = interval_s
        self.streams: dict[FakeEngine, int] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.interval_s)
            for stream, left in list(self.streams.items()):
                if left == 0:
                    stream.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST))
                    del self.streams[stream]
                else:
                    stream.transport.write(stream.chunk)
                    self.streams[stream] = left - 1


class FakeEngine(asyncio.Protocol):
    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._buffer = b""
        self.chunk = CHUNK

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            if b'"stream":true' in body.replace(b" ", b""):
                self.chunk = COUNTED_CHUNK if b'"continuous_usage_stats":true' in body else CHUNK
                self.transport.write(STREAM_HEAD)
                self._ticker.streams[self] = self._ticker.chunks
            else:
                self.transport.write(UNARY)

    def connection_lost(self, error: Exception | None) -> None:
        self._ticker.streams.pop(self, None)


async def main(port: int, chunks: int, interval_ms: float) -> None:
    ticker = Ticker(chunks, interval_ms / 1000)
    await asyncio.get_running_loop().create_server(lambda: FakeEngine(ticker), "127.0.0.1", port)
    await ticker.run()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
