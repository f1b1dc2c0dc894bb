"""What the other gateways have on each replica, as its engine tells it (`engine.request_feed`)."""

import asyncio
import contextlib
import logging
import struct
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from deployments.gateway.feed_account import (
    HASH_BYTES,
    FeedAccount,
    FeedAnswer,
    FeedBroken,
    FeedListener,
    NoFeed,
    SpentListener,
)
from deployments.gateway.replica_table import ReplicaInfo
from deployments.gateway.upstream import engine_address
from engine.guard import FEED_ROUTE, TOKEN_HEADER
from engine.internal_token import token_now
from engine.request_feed import MAX_DISPATCH_BYTES, NO_BLOCKS

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 2.0
NO_SUCH_ROUTE_RETRY_S = 30.0
STEADY_S = 5.0
SILENCE_S = 5.0
LAST_LOOK_S = 0.1
READ_BYTES = 64 * 1024


def dispatch_header(gateway_id: str, key: str, prompt_tokens: int, hit_tokens: int, blocks: Sequence[int]) -> bytes:
    """The value of `DISPATCH_HEADER`. Blocks beyond what it has room for are left out, from the end.

    `gateway_id` and `key` are 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `-`; with anything else the engine ignores it.
    """
    start = b"%b %b %d %d " % (gateway_id.encode(), key.encode(), prompt_tokens, min(hit_tokens, prompt_tokens))
    room = (MAX_DISPATCH_BYTES - len(start)) * 3 // 4 // HASH_BYTES
    return start + _encoded(blocks[:room])


def _encoded(blocks: Sequence[int]) -> bytes:
    return urlsafe_b64encode(struct.pack(f"<{len(blocks)}Q", *blocks)).rstrip(b"=") or NO_BLOCKS


@dataclass(frozen=True, slots=True)
class Source:
    """One replica's engine, and what opens it."""

    model: str
    replica_id: str
    url: str
    token: str = field(repr=False)


class Feeds:
    """Follows the engines of all replicas that are watched, for one gateway. Used on one event loop."""

    def __init__(self, gateway_id: str, listener: FeedListener, spending: SpentListener) -> None:
        self._gateway_id = gateway_id
        self._listener = listener
        self._spending = spending
        self._random = Random()  # noqa: S311
        self._following: dict[str, dict[Source, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def watch(self, model: str, replicas: Sequence[ReplicaInfo]) -> None:
        """Follow exactly these replicas of `model`. Nothing more is told of one that is not among them."""
        if self._closed:
            return
        wanted = dict.fromkeys(Source(model, replica.replica_id, replica.url, replica.token) for replica in replicas)
        following = self._following.setdefault(model, {})
        for gone in following.keys() - wanted.keys():
            following.pop(gone).cancel()
        for source in wanted:
            if source not in following:
                following[source] = self._follow(source)
        if not following:
            del self._following[model]

    async def close(self) -> None:
        """Nothing is told or followed any more."""
        for model in tuple(self._following):
            self.watch(model, ())
        self._closed = True
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _follow(self, source: Source) -> asyncio.Task[None]:
        follower = Follower(self._gateway_id, source, self._listener, self._spending, self._random)
        task = asyncio.get_running_loop().create_task(follower.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Follower:
    """Passes on what one engine tells, on one connection after another."""

    def __init__(
        self, gateway_id: str, source: Source, listener: FeedListener, spending: SpentListener, random: Random
    ) -> None:
        self._gateway_id = gateway_id
        self._source = source
        self._listener = listener
        self._spending = spending
        self._random = random
        self._retry_s = FIRST_RETRY_S
        self._logged: set[str] = set()

    async def run(self) -> None:
        """Until cancelled. What fails is logged once, and again only after the feed was steady."""
        while True:
            try:
                await self._connect()
            except (FeedBroken, OSError) as error:
                self._log(logging.INFO, "lost", error)
                is_useless = isinstance(error, NoFeed)
            except Exception as error:
                self._log(logging.ERROR, "failed", error)
                is_useless = False
            retry_s = NO_SUCH_ROUTE_RETRY_S if is_useless else self._retry_s
            self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
            await asyncio.sleep(retry_s * self._random.uniform(0.5, 1))

    async def _connect(self) -> None:
        """Raises:
        OSError: no connection, or it is lost.
        FeedBroken: it is of no use.
        """
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*engine_address(self._source.url))
        try:
            writer.write(_request(self._gateway_id, self._source))
            await self._listen(reader)
        finally:
            writer.transport.abort()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        steady_from_s = loop.time() + STEADY_S
        model, replica_id = self._source.model, self._source.replica_id
        answer, account = FeedAnswer(), FeedAccount(model, replica_id, self._listener, self._spending)
        deadline_s = loop.time() + SILENCE_S
        while not answer.is_complete and (data := await _read(reader, deadline_s)):
            lines = answer.lines(data)
            if not lines:
                if loop.time() >= deadline_s:
                    raise FeedBroken("no whole line came in time")
                continue
            for line in lines:
                account.tell(line)
            self._listener.heard(model, replica_id)
            now_s = loop.time()
            deadline_s = now_s + SILENCE_S
            if now_s >= steady_from_s:
                self._retry_s = FIRST_RETRY_S
                self._logged.clear()
        raise FeedBroken("the engine ended it")

    def _log(self, level: int, what: str, error: Exception) -> None:
        if what not in self._logged:
            self._logged.add(what)
            replica = f"{self._source.model}/{self._source.replica_id}"
            trace = error if level >= logging.ERROR else None
            logger.log(level, "the feed of replica %s is %s, retrying: %r", replica, what, error, exc_info=trace)


async def _read(reader: asyncio.StreamReader, deadline_s: float) -> bytes:
    """If the time is over, this process may have been the silent one: then what came meanwhile is there.

    Raises:
        TimeoutError: it is not.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline_s):
            return await reader.read(READ_BYTES)
    async with asyncio.timeout(LAST_LOOK_S):
        return await reader.read(READ_BYTES)


def _request(gateway_id: str, source: Source) -> bytes:
    (method, path), (host, _) = FEED_ROUTE, engine_address(source.url)
    target = b"%b?gateway=%b" % (path, gateway_id.encode())
    token = b"%b: %b" % (TOKEN_HEADER, token_now(source.token))
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n\r\n" % (method.encode(), target, host.encode(), token)
