"""Clients whose number follows a rate over time, and what each of them got."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import httpx


@dataclass(frozen=True, slots=True)
class Asked:
    """`began_s` after the load's begin; times in milliseconds. `outcome`: whole, or what went wrong."""

    began_s: float
    outcome: str
    ttft_ms: float
    e2e_ms: float


async def ramp_load(
    url: str, model: str, segments: Sequence[tuple[float, float, float]], seed: int, max_tokens: int, prompt_words: int
) -> list[Asked]:
    """Poisson arrivals; a segment: seconds, requests per second at its begin and at its end. Half are streams."""
    random, asked = Random(seed), []
    tasks: set[asyncio.Task[Asked]] = set()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits, verify=False) as client:
        began_s = time.monotonic()
        for at_s in arrivals(segments, random):
            await asyncio.sleep(max(0.0, began_s + at_s - time.monotonic()))
            body = {
                "model": model,
                "prompt": " ".join(f"w{random.randrange(10_000)}" for _ in range(prompt_words)),
                "max_tokens": max(2, round(random.expovariate(1 / max_tokens))),
                "ignore_eos": True,
                "stream": random.random() < 0.5,
            }
            tasks.add(asyncio.create_task(_ask(client, body, at_s)))
        asked = [await task for task in tasks]
    return sorted(asked, key=lambda one: one.began_s)


def arrivals(segments: Sequence[tuple[float, float, float]], random: Random) -> list[float]:
    """Thinned from the highest rate (Lewis and Shedler 1979)."""
    most = max(max(begin, end) for _, begin, end in segments)
    times, at_s, offset_s = [], 0.0, 0.0
    for seconds, begin, end in segments:
        while (at_s := at_s + random.expovariate(most)) < offset_s + seconds:
            if random.random() * most < begin + (end - begin) * (at_s - offset_s) / seconds:
                times.append(at_s)
        at_s = offset_s = offset_s + seconds
    return times


def outcomes(asked: Sequence[Asked]) -> Counter[str]:
    return Counter(one.outcome for one in asked)


async def _ask(client: httpx.AsyncClient, body: dict[str, object], began_s: float) -> Asked:
    start_s, first_s, text = time.monotonic(), 0.0, ""
    try:
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            async for part in answer.aiter_text():
                first_s = first_s or time.monotonic()
                text += part
            outcome = "whole" if answer.status_code == 200 else str(answer.status_code)
    except httpx.TransportError as error:
        outcome = type(error).__name__
    if outcome == "whole" and body["stream"] and not text.rstrip().endswith("data: [DONE]"):
        outcome = "cut short"
    end_s = time.monotonic()
    return Asked(began_s, outcome, 1000 * ((first_s or end_s) - start_s), 1000 * (end_s - start_s))
