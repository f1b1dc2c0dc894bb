"""How much of a model's demand one replica bears within the SLO: a closed form of continuous batching.

A replica computes prefill work and decode work in the same steps. With ρ the share of its time that both take, a step
lasts c0/(1 − ρ), which is what a token takes. Prefills queue behind one another like customers whose work arrives at
random. Of R replicas the router picks the one where they wait least, so that they are as good as R servers of one queue
(M/G/R): they wait longer than t with probability r^(√(2(R + 1)) − 1)·exp(−t·R·(1 − r)·2E[S]/E[S²]), r being the share
of time that prefills alone take (Sakasegawa 1977; Kingman's exponential tail). Requests that decode hold their context
in the KV cache (Little's law).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

KV_USED_AT_MOST = 0.9
MISSES = 0.01
BISECTIONS = 30


@dataclass(frozen=True, slots=True)
class Promise:
    """The model's SLO, in milliseconds."""

    ttft_ms: float
    tpot_ms: float

    def stricter(self, part: float) -> "Promise":
        return Promise(part * self.ttft_ms, part * self.tpot_ms)


@dataclass(frozen=True, slots=True)
class Speed:
    """A decode step: fixed, per sequence in it, and per thousand tokens that they attend to."""

    step_ms: float
    step_ms_per_sequence: float
    step_ms_per_ktoken: float


@dataclass(frozen=True, slots=True)
class Shape:
    """An average request. `prefill_ms`: what its uncached prefill takes of a replica; `prefill_ms_squared`: the mean of
    the squares; `context_tokens`: what it holds of the KV cache while it decodes.
    """

    prefill_ms: float
    prefill_ms_squared: float
    output_tokens: float
    context_tokens: float

    def load(self, speed: Speed, requests_per_s: float = 1.0) -> float:
        """ρ: replicas that so many requests a second keep busy."""
        per_token_ms = speed.step_ms_per_sequence + speed.step_ms_per_ktoken * self.context_tokens / 1000
        return requests_per_s * (self.prefill_ms + self.output_tokens * per_token_ms) / 1000


class Service(NamedTuple):
    """What each replica gives at some request rate: the slowest of a hundred first tokens, an average later one."""

    ttft_p99_ms: float
    tpot_ms: float
    resident_tokens: float


class Bearable(NamedTuple):
    """The most that one replica does within the promise, and what stops it there."""

    load: float
    requests_per_s: float
    bound: str


OVERRUN = Service(math.inf, math.inf, math.inf)


def service(shape: Shape, speed: Speed, requests_per_s: float, replicas: int = 1) -> Service:
    """`requests_per_s`: on each of so many replicas."""
    busy = shape.load(speed, requests_per_s)
    if busy >= 1:
        return OVERRUN
    tpot_ms = speed.step_ms / (1 - busy)
    prefilling = requests_per_s * shape.prefill_ms / 1000
    residual_ms = shape.prefill_ms_squared / (2 * shape.prefill_ms) if shape.prefill_ms else 0.0
    waits = max(prefilling, 1e-9) ** (math.sqrt(2 * (replicas + 1)) - 1)
    wait_ms = max(0.0, math.log(waits / MISSES)) * residual_ms / (1 - prefilling) / replicas
    resident = requests_per_s * shape.output_tokens * tpot_ms / 1000 * shape.context_tokens
    return Service(wait_ms + shape.prefill_ms + tpot_ms, tpot_ms, resident)


def bearable(shape: Shape, speed: Speed, promise: Promise, cache_tokens: float, replicas: int = 1) -> Bearable:
    """Of one replica of so many. `cache_tokens`: what the KV cache of each holds.

    Nothing is bearable where one request alone misses; of requests that take nothing, as before the first, any number.
    """
    alone = shape.load(speed)
    if not alone:
        broken = _broken(service(shape, speed, 0.0, replicas), promise, cache_tokens)
        return Bearable(0.0, 0.0, broken) if broken else Bearable(1.0, math.inf, "all of its time")
    most = 1 / alone
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _broken(service(shape, speed, middle, replicas), promise, cache_tokens):
            high = middle
        else:
            low = middle
    bound = _broken(service(shape, speed, high, replicas), promise, cache_tokens) or "all of its time"
    if low < most / 2**BISECTIONS * 2:
        return Bearable(0.0, 0.0, bound)
    return Bearable(low * alone, low, bound)


def _broken(at: Service, promise: Promise, cache_tokens: float) -> str:
    if at.tpot_ms > promise.tpot_ms:
        return "TPOT"
    if at.ttft_p99_ms > promise.ttft_ms:
        return "TTFT"
    if at.resident_tokens > KV_USED_AT_MOST * cache_tokens:
        return "KV cache"
    return ""
