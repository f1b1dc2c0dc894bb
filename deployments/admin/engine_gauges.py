"""How full engines are, in their own words: their `/metrics`, asked while somebody looks."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import httpx

from deployments.gateway.replica_table import ReplicaInfo
from engine.guard import TOKEN_HEADER
from engine.internal_token import token_now

TIMEOUT_S = 1.0
KEPT_S = 1.5
AT_ONCE = 16
MOST_BYTES = 4 * 2**20
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_CACHE_USED = "vllm:kv_cache_usage_perc"
PREEMPTIONS = "vllm:num_preemptions_total"


@dataclass(frozen=True, slots=True)
class EngineGauges:
    """`kv_cache_used`: the share of its blocks that requests hold, of the fullest of a replica's engines."""

    running: int
    waiting: int
    kv_cache_used: float
    preemptions: int


Fetch = Callable[[ReplicaInfo], Awaitable[str]]


def parse(text: str) -> EngineGauges | None:
    """From Prometheus text, added up over the engines behind one port; None if it is of something else.

    Raises:
        ValueError: a number that is none.
    """
    found: dict[str, list[float]] = {name: [] for name in (RUNNING, WAITING, KV_CACHE_USED, PREEMPTIONS)}
    for line in text.splitlines():
        if line.startswith("vllm:"):
            name = line.partition("{")[0].partition(" ")[0]
            if name in found:
                found[name].append(finite(line.rpartition(" ")[2]))
    if not found[RUNNING] or not found[KV_CACHE_USED]:
        return None
    return EngineGauges(
        running=int(sum(found[RUNNING])),
        waiting=int(sum(found[WAITING])),
        kv_cache_used=max(found[KV_CACHE_USED]),
        preemptions=int(sum(found[PREEMPTIONS])),
    )


def finite(text: str) -> float:
    """Raises:
    ValueError: it is no number, or not finite.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not finite")
    return number


class EngineLooks:
    """Several who look at once, or again within a second and a half, are one look."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._seen: dict[str, tuple[float, EngineGauges | None]] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def of(self, replicas: Iterable[ReplicaInfo]) -> dict[str, EngineGauges]:
        """By replica id; without those that do not answer in time."""
        wanted = {replica.replica_id: replica for replica in replicas}
        self._seen = {one: seen for one, seen in self._seen.items() if one in wanted}
        now_s = time.monotonic()
        for one, replica in wanted.items():
            fresh = one in self._seen and now_s - self._seen[one][0] < KEPT_S
            if not fresh and one not in self._looking:
                self._looking[one] = asyncio.create_task(self._look(replica))
        pending = [self._looking[one] for one in wanted if one in self._looking]
        if pending:
            await asyncio.wait(pending, timeout=2 * TIMEOUT_S)
        return {one: gauges for one, (_, gauges) in self._seen.items() if gauges is not None}

    async def _look(self, replica: ReplicaInfo) -> None:
        gauges = None
        try:
            async with self._room, asyncio.timeout(TIMEOUT_S):
                gauges = parse(await self._fetch(replica))
        except (httpx.HTTPError, OSError, TimeoutError, ValueError):
            gauges = None
        finally:
            self._seen[replica.replica_id] = (time.monotonic(), gauges)
            del self._looking[replica.replica_id]


def fetch_by(client: httpx.AsyncClient) -> Fetch:
    async def fetch(replica: ReplicaInfo) -> str:
        headers = {TOKEN_HEADER.decode(): token_now(replica.token).decode()}
        async with client.stream("GET", f"{replica.url}/metrics", headers=headers) as answer:
            answer.raise_for_status()
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MOST_BYTES:
                    raise ValueError("more than an engine's metrics take")
        return body.decode()

    return fetch
