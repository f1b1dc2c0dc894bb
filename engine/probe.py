"""Asks a running engine how it is: readiness, load, a generated token."""

import asyncio
import re
import time
from collections.abc import Generator, Iterator

import httpx

from engine.engine_process import EngineProcess
from engine.failure import EngineFailed, Failure
from engine.health import Observation
from engine.internal_token import token_now
from engine.launch import EngineLaunch

READY_POLL_S = 0.2
PROBE_TIMEOUT_S = 10.0
STEPS = "vllm:iteration_tokens_total_count"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"
CACHE_CONFIG = re.compile(r"^vllm:cache_config_info\{(.*)\} ", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Shown(httpx.Auth):
    """The internal token of the hour in which a request is sent."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["x-baryon-internal-token"] = token_now(self._secret).decode()
        yield request


class EngineProbe:
    """An HTTP client to one engine's private port."""

    def __init__(self, launch: EngineLaunch) -> None:
        self.url = f"http://{launch.host}:{launch.port}"
        self._model = launch.model
        self._pools = launch.engine_args.get("runner") == "pooling"
        self._client = httpx.AsyncClient(
            base_url=self.url,
            auth=Shown(launch.internal_token),
            timeout=PROBE_TIMEOUT_S,
            trust_env=False,
        )

    async def wait_ready(self, engine: EngineProcess, timeout_s: float) -> None:
        """Return once the server answers.

        Raises:
            EngineFailed: the engine ended, or did not answer within `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while not await self._answers():
            if engine.ended.is_set():
                raise EngineFailed(engine.failure())
            engine.members()
            if time.monotonic() >= deadline_s:
                raise EngineFailed(
                    Failure(
                        "start_timeout",
                        f"The engine was not ready after {timeout_s:.0f} s. Raise start_timeout_s if it only "
                        f"needs longer; its last line was: {(engine.log.tail() or ['(none)'])[-1]}",
                    )
                )
            await asyncio.sleep(READY_POLL_S)

    async def max_model_len(self) -> int:
        """The context length in tokens that the engine settled on."""
        models = (await self._client.get("/v1/models")).raise_for_status().json()
        return int(models["data"][0]["max_model_len"])

    async def kv_cache_tokens(self) -> int | None:
        """How many tokens its KV cache holds, over all engines behind the port; None if it does not say."""
        return parse_kv_cache_tokens((await self._client.get("/metrics")).raise_for_status().text)

    async def canary(self, timeout_s: float) -> bool:
        """Whether one token (or one embedding) comes back in time.

        A refusal (4xx) counts as yes: it judges the request, not the engine.
        """
        path = "/v1/embeddings" if self._pools else "/v1/completions"
        body = {"model": self._model, **({"input": "a"} if self._pools else {"prompt": "a", "max_tokens": 1})}
        try:
            return (await self._client.post(path, json=body, timeout=timeout_s)).status_code < 500
        except httpx.HTTPError:
            return False

    async def in_flight(self) -> int:
        """Generation requests inside the engine's server now."""
        return int((await self._client.get("/-/load")).raise_for_status().json()["in_flight"])

    async def drain(self) -> int:
        """Make it refuse generation requests from now on; how many are in flight."""
        return int((await self._client.post("/-/drain")).raise_for_status().json()["in_flight"])

    async def observe(self) -> Observation:
        try:
            text = (await self._client.get("/metrics")).raise_for_status().text
        except httpx.HTTPError:
            return Observation(time.monotonic(), None, None, None)
        return parse_metrics(text, time.monotonic())

    async def close(self) -> None:
        await self._client.aclose()

    async def _answers(self) -> bool:
        try:
            return (await self._client.get("/health")).is_success
        except httpx.HTTPError:
            return False


def parse_metrics(text: str, at_s: float) -> Observation:
    """The numbers that health needs, summed over engines, from Prometheus text."""
    totals = dict.fromkeys((STEPS, RUNNING, WAITING, KV_CACHE_USAGE), 0.0)
    for name, value in _samples(text):
        if name in totals:
            totals[name] += value
    steps, running, waiting = (int(totals[name]) for name in (STEPS, RUNNING, WAITING))
    return Observation(at_s, steps, running, waiting, totals[KV_CACHE_USAGE])


def parse_kv_cache_tokens(text: str) -> int | None:
    """Blocks times tokens per block, from the labels of vLLM's cache configuration."""
    total = 0
    for labels in CACHE_CONFIG.findall(text):
        config = dict(LABEL.findall(labels))
        blocks, size = config.get("num_gpu_blocks", ""), config.get("block_size", "")
        total += int(blocks) * int(size) if blocks.isdigit() and size.isdigit() else 0
    return total or None


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        if line.startswith("vllm:"):
            name = line.partition("{")[0].partition(" ")[0]
            yield name, float(line.rsplit(" ", 1)[1])
