"""A trace played to real engines: prompts of token ids that share exactly the trace's blocks, timed at the client."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from random import Random

import httpx

from cluster.simulator.trace import open_trace
from cluster.simulator.trace_request import TraceRequest
from deployments.gateway.usage import read_usage

FIRST_TOKEN, TOKENS = 1_000, 40_000
AMONG, LEAST_TURNS = 3_000, 3


@dataclass(frozen=True, slots=True)
class Job:
    """A request to send `at_s` after the start."""

    at_s: float
    prompt: list[int]
    output_tokens: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a job. `sent_s`: when it was sent, after the start."""

    sent_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    ttft_ms: float
    e2e_ms: float
    replica: str

    @property
    def tpot_ms(self) -> float:
        return (self.e2e_ms - self.ttft_ms) / max(1, self.output_tokens - 1)


def prompt_of(request: TraceRequest, block_tokens: int, salt: str) -> list[int]:
    """The same block gives the same token ids, for this `salt`; what is beyond full blocks is the request's own."""
    ids: list[int] = []
    for block in request.blocks:
        source = Random(f"{salt} {block}")
        ids += [FIRST_TOKEN + source.randrange(TOKENS) for _ in range(block_tokens)]
    own = Random(f"{salt} {request.arrived_ms}")
    ids += [FIRST_TOKEN + own.randrange(TOKENS) for _ in range(request.input_tokens - len(ids))]
    return ids[: request.input_tokens]


def conversations(trace: Path, requests: int, rate_req_s: float, longest_tokens: int) -> tuple[list[TraceRequest], int]:
    """Requests of conversations of three turns or more, in the trace's order, and the tokens of its blocks.

    Arrivals are Poisson: a small machine takes too few of the trace's requests for any to meet its own conversation.
    """
    opened = open_trace(trace)
    among = [r for r in islice(opened.requests(1), AMONG) if r.input_tokens + r.output_tokens < longest_tokens]
    turns = Counter(r.blocks[1] for r in among if len(r.blocks) > 1)
    chosen = [r for r in among if len(r.blocks) > 1 and turns[r.blocks[1]] >= LEAST_TURNS][:requests]
    source, at_ms, arriving = Random(1), 0.0, []
    for request in chosen:
        at_ms += source.expovariate(rate_req_s) * 1000
        arriving.append(replace(request, arrived_ms=at_ms))
    return arriving, opened.block_tokens


async def play(url: str, model: str, jobs: Iterable[Job], headers: dict[str, str]) -> list[Measured]:
    """Send each job at its time, whatever the answers do.

    Raises:
        httpx.HTTPError: an answer was an error, or broke off.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=600, limits=limits) as client:
        started_s = time.perf_counter()
        return list(await asyncio.gather(*(_one(client, model, job, started_s) for job in jobs)))


async def _one(client: httpx.AsyncClient, model: str, job: Job, started_s: float) -> Measured:
    await asyncio.sleep(max(0.0, started_s + job.at_s - time.perf_counter()))
    body = {
        "model": model,
        "prompt": job.prompt,
        "max_tokens": job.output_tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    sent_s = time.perf_counter()
    first_s, tail = 0.0, b""
    async with client.stream("POST", "/v1/completions", json=body, headers=job.headers) as answer:
        if answer.status_code != 200:
            raise httpx.HTTPError(f"status {answer.status_code}: {(await answer.aread()).decode()[:300]}")
        async for data in answer.aiter_raw():
            first_s = first_s or time.perf_counter()
            tail = (tail + data)[-4096:]
        replica = answer.headers.get("x-baryon-replica", "")
    usage = read_usage(tail)
    if usage is None or not tail.endswith(b"data: [DONE]\n\n"):
        raise httpx.HTTPError("the answer broke off")
    return Measured(
        sent_s - started_s,
        usage.prompt_tokens,
        usage.output_tokens,
        usage.cached_tokens or 0,
        (first_s - sent_s) * 1000,
        (time.perf_counter() - sent_s) * 1000,
        replica,
    )
