"""What an engine computed of one request: as its answer says, or, for a client that left before, as it counts itself.

The second is the one thing read of vLLM that is not public: an answer that nobody waits for any more is never made, and
vLLM tells of such a request only in sums. Nothing is written, and where it is not found nothing is told.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

USAGE = b'"usage":'
PROMPT = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d+)')
OUTPUT = re.compile(rb'"(?:completion|output)_tokens":\s*(\d+)')
CACHED = re.compile(rb'"(?:cached_tokens|cache_read_input_tokens)":\s*(\d+)')
FORGOTTEN_WITHIN_S = 2.0
LOOK_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True)
class Computed:
    """Tokens; the prompt once, whatever `n` was. `cached_tokens` are part of it."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class Computing:
    """One request. `receive` and `sent` are told what passes; then `said`, or `computed`, tells what came of it."""

    def __init__(self, scope: Scope, receive: Receive, request_id: bytes) -> None:
        self._scope = scope
        self._receive = receive
        self._request_id = request_id.decode("latin-1")
        self._told = b""
        self._left: list[Any] = []
        self.client_left = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.client_left:
            self.client_left = True
            self._left = self._unfinished()
        return message

    def sent(self, body: bytes) -> None:
        """A part of the answer."""
        if USAGE in body:
            self._told = body

    @property
    def is_cut(self) -> bool:
        """The client left before the engine was done with it."""
        return bool(self._left)

    def said(self) -> Computed | None:
        """By the answer, once it has ended."""
        return read_computed(self._told)

    async def computed(self) -> Computed | None:
        """By the engine of a request that is cut, once it is through with it. None: it does not say."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + FORGOTTEN_WITHIN_S
        while self._is_at_work() and loop.time() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN_S)
        try:
            return _sum(self._left)
        except (AttributeError, TypeError):
            return None

    def _is_at_work(self) -> bool:
        return any(state in self._left for state in self._unfinished())

    def _unfinished(self) -> list[Any]:
        """The engine's own account of each sequence of this request that has not ended."""
        try:
            states = self._scope["app"].state.engine_client.output_processor.request_states.values()
            return [state for state in states if self._request_id and self._request_id in state.external_req_id]
        except (AttributeError, KeyError, TypeError):
            return []


def read_computed(told: bytes) -> Computed | None:
    """From the last usage object."""
    usage = told[told.rfind(USAGE) :]
    prompt, output, cached = PROMPT.search(usage), OUTPUT.search(usage), CACHED.search(usage)
    if prompt is None:
        return None
    return Computed(int(prompt[1]), int(cached[1]) if cached else 0, int(output[1]) if output else 0)


def _sum(states: list[Any]) -> Computed:
    """Several sequences share a prompt if it was asked for several answers."""
    prompts = {
        state.external_req_id: (int(state.prompt_len), int(state.num_cached_tokens))
        for state in states
        if not state.is_prefilling
    }
    output = sum(
        state.stats.num_generation_tokens if state.stats is not None else state.detokenizer.num_output_tokens()
        for state in states
    )
    return Computed(sum(p for p, _ in prompts.values()), sum(c for _, c in prompts.values()), output)
