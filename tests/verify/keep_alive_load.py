"""Clients as applications have them, which never try twice: whatever goes wrong is seen."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import httpx
import openai

TIMEOUT_S = 60.0
ENDING_S = 60.0
LONGEST_PAUSE_S = 7.0


class KeepAliveLoad:
    """Per model and client: streams and short answers on kept connections, and short answers on new ones.

    OpenAI's client keeps a connection for 5 s; the pauses between short answers are longer and shorter than that.
    """

    def __init__(self, url: str, models: list[str], clients: int, stream_tokens: range, seed: int) -> None:
        self._url = url
        self._models = models
        self._clients = clients
        self._stream_tokens = stream_tokens
        self._random = Random(seed)
        self._ended = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.outcomes: dict[str, Counter[str]] = {}
        self.slowest_s: dict[str, float] = {}
        self.longest_stream_s = 0.0

    def __enter__(self) -> "KeepAliveLoad":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join(ENDING_S)

    @property
    def failures(self) -> dict[str, dict[str, int]]:
        bad = {kind: {k: n for k, n in counts.items() if k != "whole"} for kind, counts in self.outcomes.items()}
        return {kind: counts for kind, counts in bad.items() if counts}

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for model in self._models:
                for _ in range(self._clients):
                    group.create_task(self._repeat("stream", self._stream, model, 0.1))
                    group.create_task(self._repeat("short, kept connection", self._short, model, LONGEST_PAUSE_S))
                    group.create_task(self._repeat("short, new connection", self._short, model, 1.0))

    async def _repeat(
        self, kind: str, ask: Callable[[openai.AsyncOpenAI, str], Awaitable[str]], model: str, longest_pause_s: float
    ) -> None:
        outcomes = self.outcomes.setdefault(kind, Counter())
        client = self._client()
        while not self._ended:
            if kind == "short, new connection":
                await client.close()
                client = self._client()
            began_s = time.monotonic()
            try:
                outcome = await ask(client, model)
            except openai.APIStatusError as error:
                outcome = f"{error.status_code} {error.message}"
            except (openai.APIError, httpx.HTTPError) as error:
                outcome = f"{type(error).__name__}: {error.__cause__ or error!r}"
            outcomes[outcome] += 1
            taken_s = time.monotonic() - began_s
            self.slowest_s[kind] = max(self.slowest_s.get(kind, 0.0), taken_s)
            await asyncio.sleep(self._random.uniform(0, longest_pause_s))
        await client.close()

    def _client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self._url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_S)

    async def _stream(self, client: openai.AsyncOpenAI, model: str) -> str:
        tokens = self._random.choice(self._stream_tokens)
        began_s = time.monotonic()
        asked: dict[str, Any] = {"model": model, "prompt": "drain", "max_tokens": tokens}
        stream = await client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        made = 0
        async for chunk in stream:
            made = chunk.usage.completion_tokens if chunk.usage else made
        self.longest_stream_s = max(self.longest_stream_s, time.monotonic() - began_s)
        return "whole" if made == tokens else f"{made} of {tokens} tokens"

    async def _short(self, client: openai.AsyncOpenAI, model: str) -> str:
        answer = await client.completions.create(model=model, prompt="drain", max_tokens=3)
        return "whole" if answer.usage and answer.usage.completion_tokens == 3 else "cut short as 200"
