"""Asks all engines of a node for their metrics at once, and waits for none of them longer than is left."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

MOST_PAGE_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Engine:
    """One replica's. `headers` open it, and may change from hour to hour. Sizes None: not known."""

    model: str
    replica: str
    url: str
    headers: Callable[[], Mapping[str, str]] = field(repr=False)
    tensor_parallel_size: int = 1
    kv_cache_tokens: int | None = None


class TooLarge(Exception):
    """No engine of ours has so much to tell."""


class EngineScrape:
    """Connections are kept between scrapes."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None))

    async def pages(self, engines: Sequence[Engine], within_s: float) -> dict[str, str]:
        """By replica; of those that have answered in time."""
        answers = await asyncio.gather(*(self._page(engine, within_s) for engine in engines))
        return {engine.replica: page for engine, page in zip(engines, answers, strict=True) if page is not None}

    async def close(self) -> None:
        await self._client.aclose()

    async def _page(self, engine: Engine, within_s: float) -> str | None:
        try:
            async with asyncio.timeout(within_s):
                return await self._fetch(engine)
        except (TimeoutError, httpx.HTTPError, TooLarge, UnicodeDecodeError):
            return None

    async def _fetch(self, engine: Engine) -> str:
        headers, page = dict(engine.headers()), bytearray()
        async with self._client.stream("GET", f"{engine.url}/metrics", headers=headers, timeout=None) as answer:
            answer.raise_for_status()
            async for part in answer.aiter_bytes():
                page += part
                if len(page) > MOST_PAGE_BYTES:
                    raise TooLarge
        return page.decode()
