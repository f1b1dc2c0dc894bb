"""Synthetic workloads by name: where a policy that shines on one trace must not be worse than a simple one.

Arrivals are Poisson. Each rate is 0.65 of what eight replicas of llama-3.1-70b-h100-tp4 finish under round robin when
more is asked of them than they can do; `tests.benchmarks.saturation` measures it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from cluster.simulator.simulation import Fleet, Outage
from cluster.simulator.trace_request import TraceRequest

BLOCK_TOKENS = 80
BLOCKS_PER_PROMPT = 10_000
SECONDS = 300.0


class Shape(NamedTuple):
    """A request's lengths; its first `prefix_tokens` are those of all others with this `prefix`."""

    prompt_tokens: int
    output_tokens: int
    prefix: int = 0
    prefix_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """`seconds` of requests that `draw` gives their shapes, on replicas of this `slowness`.

    With an `outage`, replica 0 is lost for the second third of the time.
    """

    name: str
    rate_req_s: float
    draw: Callable[[Random], Shape]
    slowness: tuple[float, ...] = (1.0,)
    outage: bool = False
    seconds: float = SECONDS
    block_tokens: int = BLOCK_TOKENS

    def requests(self, seed: int, speedup: float = 1.0) -> Iterator[TraceRequest]:
        """The same requests at every `speedup`; only their times differ."""
        source = Random(f"{self.name} {seed}")  # noqa: S311
        at_s, index = source.expovariate(self.rate_req_s), 0
        while at_s < self.seconds:
            shape = self.draw(source)
            blocks = _blocks(shape, index, self.block_tokens)
            yield TraceRequest(at_s * 1000 / speedup, shape.prompt_tokens, shape.output_tokens, blocks)
            at_s, index = at_s + source.expovariate(self.rate_req_s), index + 1

    def fleet(self, fleet: Fleet, speedup: float = 1.0) -> Fleet:
        """The same replicas, as slow and as mortal as the scenario has them."""
        third_ms = self.seconds * 1000 / 3 / speedup
        outages = (Outage(0, third_ms, 2 * third_ms),) if self.outage else ()
        return replace(fleet, hash_tokens=self.block_tokens, slowness=self.slowness, outages=outages)


def _blocks(shape: Shape, index: int, block_tokens: int) -> tuple[int, ...]:
    """Of the prefix below zero, of the request alone above."""
    shared, full = shape.prefix_tokens // block_tokens, shape.prompt_tokens // block_tokens
    of_prefix = range(-1 - shape.prefix * BLOCKS_PER_PROMPT, -1 - shape.prefix * BLOCKS_PER_PROMPT - shared, -1)
    return (*of_prefix, *range(index * BLOCKS_PER_PROMPT + shared, index * BLOCKS_PER_PROMPT + full))


def shared_prefix(source: Random) -> Shape:
    """llm-d's published workload: 150 groups that share 6,000 tokens, questions of 1,200, answers of 1,000."""
    return Shape(7_200, 1_000, source.randrange(150), 6_000)


def no_reuse(source: Random) -> Shape:
    return Shape(source.randint(200, 3_800), _answer_tokens(source, 250))


def one_hot_prefix(source: Random) -> Shape:
    return Shape(8_000 + source.randint(40, 360), _answer_tokens(source, 250), 0, 8_000)


def long_among_short(source: Random) -> Shape:
    return Shape(30_000 if source.random() < 0.05 else 300, _answer_tokens(source, 250))


def tiny(source: Random) -> Shape:
    return Shape(8, _answer_tokens(source, 100))


def _answer_tokens(source: Random, mean: int) -> int:
    """Geometric, as answers roughly are, and none over eight times the mean."""
    return min(1 + int(source.expovariate(1 / mean)), 8 * mean)


SHARED_PREFIX = Scenario("shared-prefix", 5.6, shared_prefix, seconds=600)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        SHARED_PREFIX,
        Scenario("no-reuse", 29, no_reuse),
        Scenario("one-hot-prefix", 53, one_hot_prefix),
        Scenario("long-among-short", 23.5, long_among_short),
        Scenario("half-slow", 14.8, no_reuse, slowness=(1.0, 2.0)),
        Scenario("tiny-prompts", 500, tiny, seconds=60),
        Scenario("replica-fails", 5.6, shared_prefix, seconds=600, outage=True),
    )
}
