"""An autoscaling test: what is asked for over time, of which hardware, within which SLO and counts."""

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

from pydantic import Field, model_validator

from cluster.checked_yaml import load_yaml
from cluster.config import Section
from cluster.simulator.trace_request import TraceRequest

LEAST_TOKENS = 16
LONGEST = 4.0
BLOCK_TOKENS = 16


class Lengths(Section):
    """Lognormal with this mean and coefficient of variation, from 16 tokens to four times the mean."""

    mean: float = Field(ge=1)
    cv: float = Field(ge=0)

    def draw(self, source: Random) -> int:
        variance = math.log(1 + self.cv**2)
        drawn = source.lognormvariate(math.log(self.mean) - variance / 2, math.sqrt(variance))
        return round(min(LONGEST * self.mean, max(LEAST_TOKENS, drawn)))


class Objective(Section):
    ttft_ms: float = Field(gt=0)
    tpot_ms: float = Field(gt=0)


class Counts(Section):
    min: int = Field(ge=0)
    max: int = Field(ge=1)
    initial: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "Counts":
        if not self.min <= self.initial <= self.max:
            raise ValueError(f"min ({self.min}) ≤ initial ({self.initial}) ≤ max ({self.max}) does not hold")
        return self


class Protocol(Section):
    """`segments`: seconds, and requests per second at their begin and end. `prefix_hit_rate`: the leading part of each
    prompt that all prompts have in common.
    """

    profile: str
    input_tokens: Lengths
    output_tokens: Lengths
    prefix_hit_rate: float = Field(0.0, ge=0, lt=1)
    slo: Objective
    replicas: Counts
    cold_start_s: float = Field(gt=0)
    segments: list[tuple[float, float, float]] = Field(min_length=1)
    seeds: list[int] = Field([1, 2, 3, 4, 5], min_length=1)

    @model_validator(mode="after")
    def _forward(self) -> "Protocol":
        for seconds, begin, end in self.segments:
            if seconds <= 0 or begin < 0 or end < 0 or not math.isfinite(seconds + begin + end):
                raise ValueError(f"segment [{seconds:g}, {begin:g}, {end:g}]: seconds above 0, rates of 0 or more")
        return self

    @property
    def seconds(self) -> float:
        return sum(seconds for seconds, _, _ in self.segments)

    def rate_at(self, at_s: float) -> float:
        """Requests per second."""
        for seconds, begin, end in self.segments:
            if at_s < seconds:
                return begin + (end - begin) * at_s / seconds
            at_s -= seconds
        return 0.0

    def requests(self, seed: int) -> Iterator[TraceRequest]:
        """Poisson arrivals, thinned from the highest rate (Lewis and Shedler 1979)."""
        source = Random(f"protocol {seed}")  # noqa: S311
        most = max(max(begin, end) for _, begin, end in self.segments)
        at_s = 0.0
        while most:
            at_s += source.expovariate(most)
            if at_s >= self.seconds:
                return
            if source.random() * most < self.rate_at(at_s):
                prompt, output = self.input_tokens.draw(source), self.output_tokens.draw(source)
                yield TraceRequest(at_s * 1000, prompt, output, self._shared_blocks(prompt))

    def _shared_blocks(self, prompt_tokens: int) -> tuple[int, ...]:
        """Of the common prefix; what follows it is nobody else's."""
        return tuple(range(round(self.prefix_hit_rate * prompt_tokens / BLOCK_TOKENS)))


def load_protocol(path: Path) -> Protocol:
    """Raises:
    ConfigError: what is wrong, with its line.
    """
    return load_yaml(path, Protocol)
