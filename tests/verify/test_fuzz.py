"""Mangled bytes and hostile bodies: each gets an answer or an end, and the gateway stays as it was."""

import asyncio
import contextlib
import json
import re
from collections import Counter
from random import Random

import orjson
import pytest

from cluster.bench.overhead_run import commit_id, write_json
from cluster.bench.peers import rss_mb
from deployments.gateway.body_rules.fields import REFUSED, ROUTES
from deployments.gateway.recipes.recipe_call import FIELDS
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


HOSTILE: list[object] = [
    *(None, True, -1, 0, 9, 2**63, 1e308, "", "8", "x" * 5000, "\x00", "\ud83d\ude00" * 50, "{{ 7 * 7 }}", "(a+)+"),
    *(
        [],
        [[]],
        ["x"] * 20,
        [1] * 300,
        {},
        {"$ref": "#"},
        {"url": "http://169.254.169.254/"},
        "data:image/png;base64,AA",
    ),
]
TURNS: list[object] = [{"role": "user", "content": "hi"}]
WHOLE: dict[bytes, list[dict[str, object]]] = {
    b"/v1/chat/completions": [
        {"messages": TURNS, "max_tokens": 2},
        {"messages": TURNS, "max_tokens": 2, "stream": True},
    ],
    b"/v1/completions": [{"prompt": "a", "max_tokens": 2}, {"prompt": [1, 2], "max_tokens": 2, "stream": True}],
    b"/v1/responses": [{"input": "a", "max_output_tokens": 2}, {"input": TURNS, "max_output_tokens": 2}],
    b"/v1/messages": [{"messages": TURNS, "max_tokens": 2}],
    b"/v1/embeddings": [{"input": ["a", "b"]}],
    b"/tokenize": [{"prompt": "a"}],
    b"/detokenize": [{"tokens": [1, 2]}],
    b"/v1/recipes/answer": [{"inputs": {"question": "a", "context": "b"}, "max_tokens": 2}],
    b"/v1/recipes/write": [{"inputs": {"task": "a", "tone": "b"}, "max_tokens": 2, "stream": True}],
    b"/v1/recipes/classify": [{"inputs": {"text": "a", "labels": ["b", "c"]}, "explain": True}],
    b"/v1/recipes/sentiment": [{"inputs": {"text": "a. b."}, "explain": {"input": "text", "unit": "word"}}],
    b"/v1/recipes/summarize": [{"inputs": {"text": "a. " * 900, "sentences": 1}, "max_tokens": 2}],
    b"/v1/recipes/extract": [{"inputs": {"text": "a", "schema": {"type": "object"}}, "max_tokens": 2}],
}
FIELDS_OF = {**dict.fromkeys(WHOLE, FIELDS), **ROUTES}
NAMES = sorted({name for fields in ROUTES.values() for name in fields} | REFUSED.keys())
LEAKS = re.compile(rb"Traceback|site-packages|\.py\b|baryon-internal-token|/home/|/tmp/|0x[0-9a-f]{8}|127\.0\.0\.1")


def hostile(random: Random) -> bytes:
    """A whole request to a route that generates, with a body of values that fields and inputs are not made for."""
    path = random.choice(sorted(WHOLE))
    names = sorted(FIELDS_OF[path]) if random.random() < 0.8 else NAMES
    document: dict[str, object] = {"model": "sim", **random.choice(WHOLE[path])}
    for _ in range(random.randrange(1, 4)):
        value = random.choice(HOSTILE)
        for _ in range(random.choice([0, 0, 0, 1, 2, 40])):
            value = [value] if random.random() < 0.5 else {random.choice(NAMES): value}
        inputs = document.get("inputs")
        if isinstance(inputs, dict) and random.random() < 0.7:
            document["inputs"] = {**inputs, random.choice([*inputs, "text", "schema", "x"]): value}
        else:
            document[random.choice(names)] = value
    body = json.dumps(document).encode()
    if random.random() < 0.2:
        at = random.randrange(len(body))
        body = body[:at] + random.choice([b"NaN", b"\xff", b'"', b"}", b"1e999", b"\\udfff"]) + body[at:]
    return f"POST {path.decode()} HTTP/1.1\r\nhost: g\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


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
    if LEAKS.search(answer):
        return "leaks"
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else "garbage"


async def fuzz(port: int, count: int, seed: int) -> Counter[str]:
    random, outcomes, room = Random(seed), Counter[str](), asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes) -> None:
        async with room:
            outcomes[await outcome(port, data)] += 1

    await asyncio.gather(*(one(random.choice((mangled, hostile))(random)) for _ in range(count)))
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
        assert not outcomes.keys() & {"hangs", "garbage", "leaks", "500", "502"}, outcomes
        assert grown_mb < TOLERATED_GROWTH_MB
        answer = cluster.post("/v1/completions", {"model": "sim", "prompt": "a", "max_tokens": 2})
        assert answer.status_code == 200
        again = next(a for a in cluster.status()["applications"] if a["name"] == "gateway")
        assert again["replicas"][0]["pid"] == pid
        assert cluster.stop() == []
    finally:
        cluster.remove()
