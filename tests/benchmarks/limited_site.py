"""The processes of `limits.py`: `python -m tests.benchmarks.limited_site engine|lender|gateway ARGUMENT...`.

No Ray: gateways reach the lender over a socket, each call as long as one through a Serve handle about takes. The engine
counts what it delivers, by model and half second.
"""

import asyncio
import pickle
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop

import deployments.gateway.app
from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.inference import Inference
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.borrower import Borrower, Lend
from deployments.gateway.tenants.lease import Reply, Report
from deployments.gateway.tenants.tenant import Limits, Tenant
from deployments.lending import Lending
from tests.unit.gateway.keys import no_keys

MODELS = {
    "requests": Limits(requests_per_minute=300),
    "tokens": Limits(tokens_per_minute=40_000),
    "slots": Limits(concurrent_requests=12),
    "ample": Limits(10_000_000, 1_000_000_000, 100_000, 1_000_000_000),
    "free": Limits(),
}
PROMPT_TOKENS = 10
RARE, RARE_TOKENS, USUAL_TOKENS = 0.05, 1_000, 100
TOKENS_PER_S = 100
SLOT_S = 1.0
CALL_S = 0.003
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
USAGE = '{"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}'


class Engine:
    """`GET /` answers with what was delivered: of each model, by half second, requests begun, tokens, and the most that
    ran at a time.
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[int, list[int]]] = {}
        self._running = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET / "):
                    self._send(writer, orjson.dumps(self._counts, option=orjson.OPT_NON_STR_KEYS))
                elif head.startswith(b"GET "):
                    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                else:
                    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                    await self._answer(orjson.loads(await reader.readexactly(length))["model"], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _count(self, model: str, requests: int, tokens: int) -> None:
        now = self._counts.setdefault(model, {}).setdefault(int(time.time() * 2), [0, 0, 0])
        now[0] += requests
        now[1] += tokens
        now[2] = max(now[2], self._running)

    async def _answer(self, model: str, writer: asyncio.StreamWriter) -> None:
        self._running += model == "slots"
        try:
            self._count(model, 1, PROMPT_TOKENS)
            if model == "tokens":
                await self._stream(writer)
                return
            if model == "slots":
                await asyncio.sleep(SLOT_S)
            self._send(writer, (USAGE % (PROMPT_TOKENS, 1)).encode())
        finally:
            self._running -= model == "slots"

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        tokens = RARE_TOKENS if random.random() < RARE else USUAL_TOKENS
        writer.write(HEAD)
        for _ in range(tokens // 10):
            writer.write(b"%x\r\n%b\r\n" % (10 * len(EVENT), 10 * EVENT))
            await writer.drain()
            self._count("tokens", 0, 10)
            await asyncio.sleep(10 / TOKENS_PER_S)
        last = b"data: " + (USAGE % (PROMPT_TOKENS, tokens)).encode() + b"\n\ndata: [DONE]\n\n"
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))

    def _send(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)


async def engine(port: int) -> None:
    await (await asyncio.start_server(Engine().serve, "127.0.0.1", port, backlog=1000)).serve_forever()


async def lender(port: int) -> None:
    lending = Lending(Path(tempfile.mkdtemp()) / "state.sqlite")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while size := await reader.read(4):
            reply = lending.exchange(pickle.loads(await reader.readexactly(int.from_bytes(size, "big"))))
            await asyncio.sleep(CALL_S)
            answer = pickle.dumps(reply)
            writer.write(len(answer).to_bytes(4, "big") + answer)
        writer.close()

    await (await asyncio.start_server(serve, "127.0.0.1", port)).serve_forever()


def lend_by(lender_port: int) -> Lend:
    async def lend(report: Report) -> Reply:
        reader, writer = await asyncio.open_connection("127.0.0.1", lender_port)
        try:
            told = pickle.dumps(report)
            writer.write(len(told).to_bytes(4, "big") + told)
            reply: Reply = pickle.loads(await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big")))
            return reply
        finally:
            writer.close()

    return lend


async def gateway(port: int, engine_port: int, lender_port: int) -> None:
    """Who asks for a model is the tenant of the same name."""

    def of_tenant(backends: Any, card: Any, asked: Any, _: Tenant, *others: Any) -> Inference:
        return Inference(backends, card, asked, Tenant(asked.model, MODELS[asked.model]), *others)

    deployments.gateway.app.Inference = of_tenant  # type: ignore[misc,assignment]
    replicas, catalogue = ReplicaTable(), Catalogue()
    for model in MODELS:
        replicas.update(model, [ReplicaInfo("r0", f"http://127.0.0.1:{engine_port}", "none", 100_000, 4096)])
    catalogue.replace({model: ModelCard(model, "simulated") for model in MODELS})
    serving = Gateway(GatewaySettings(), replicas, catalogue, no_keys())
    await serving.start("127.0.0.1", port)
    await Borrower(serving.app.spending, lend_by(lender_port)).run()


if __name__ == "__main__":
    role = {"engine": engine, "lender": lender, "gateway": gateway}[sys.argv[1]]
    uvloop.run(role(*map(int, sys.argv[2:])))  # type: ignore[operator]
