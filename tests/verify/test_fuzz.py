"""Mangled bytes on the gateway's port: each connection gets an answer or is closed, and the gateway stays as it was."""

import asyncio
import contextlib
from collections import Counter
from random import Random

import orjson
import pytest

from cluster.bench.overhead_run import commit_id, write_json
from cluster.bench.peers import rss_mb
from tests.end_to_end.cluster_process import ClusterProcess
from tests.verify.results import RESULTS

pytestmark = pytest.mark.verify
MODELS = "models: [{name: sim, engine: simulated, profile: instant, cpus_per_replica: 0.2}]\n"
CONNECTIONS = 20_000
AT_ONCE = 64
TOLERATED_GROWTH_MB = 10
BODIES: list[object] = [
    {"model": "sim", "prompt": "a", "max_tokens": 3},
    {"model": "sim", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 3},
    {"model": ["sim"], "prompt": None},
    {"model": "sim", "prompt": "x" * 5000, "max_tokens": -1, "n": 10**9},
    [1, 2, 3],
    "text",
]
PATHS = ["/v1/completions", "/v1/chat/completions", "/v1/models", "/health", "/v1/%2e%2e/metrics", "//", "/\x00", "*"]
INSERTIONS = [
    b"\x00",
    b"\r\n",
    b"\n",
    b"\xff\xfe",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b":" * 50,
]


def mangled(random: Random) -> bytes:
    """A request that is whole, or is cut, repeated, overwritten or padded in one to four places."""
    body = orjson.dumps(random.choice(BODIES))
    head = f"{random.choice(['POST', 'GET', 'PUT', 'FOO'])} {random.choice(PATHS)} HTTP/1.1\r\nhost: g\r\n"
    data = bytearray(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    for _ in range(random.randrange(5)):
        at = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = random.choice(INSERTIONS)
            case 2:
                data[at : at + 4] = random.randbytes(4)
            case 3:
                data += data[at:]
    return bytes(data)


async def outcome(port: int, data: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            writer.write_eof()
        async with asyncio.timeout(20):
            answer = await reader.read()
    except TimeoutError:
        return "hangs"
    except ConnectionError:
        return "reset"
    finally:
        writer.transport.abort()
    if not answer:
        return "closed"
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else "garbage"


async def fuzz(port: int, count: int, seed: int) -> Counter[str]:
    random, outcomes, room = Random(seed), Counter[str](), asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes) -> None:
        async with room:
            outcomes[await outcome(port, data)] += 1

    await asyncio.gather(*(one(mangled(random)) for _ in range(count)))
    return outcomes


def test_mangled_requests_harm_nobody() -> None:
    cluster = ClusterProcess(MODELS)
    try:
        cluster.start()
        application = next(a for a in cluster.status()["applications"] if a["name"] == "gateway")
        pid = application["replicas"][0]["pid"]
        asyncio.run(fuzz(cluster.port, 2000, seed=1))
        before_mb = rss_mb(pid)
        outcomes = asyncio.run(fuzz(cluster.port, CONNECTIONS, seed=2))
        grown_mb = round(rss_mb(pid) - before_mb, 1)
        write_json(
            {"benchmark": "fuzz", "commit": commit_id(), "outcomes": outcomes, "grown_mb": grown_mb},
            RESULTS / "fuzz.json",
        )
        assert not outcomes.keys() & {"hangs", "garbage", "500", "502"}, outcomes
        assert grown_mb < TOLERATED_GROWTH_MB
        answer = cluster.post("/v1/completions", {"model": "sim", "prompt": "a", "max_tokens": 2})
        assert answer.status_code == 200
        again = next(a for a in cluster.status()["applications"] if a["name"] == "gateway")
        assert again["replicas"][0]["pid"] == pid
        assert cluster.stop() == []
    finally:
        cluster.remove()
