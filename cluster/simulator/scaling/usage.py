"""What a usage log says was asked for, as requests that an autoscaling run can play.

Each bin's own number of requests, at moments drawn within it; their lengths are drawn from what finished in the bin and
the three on either side, or last before that. What was cached of them is the beginning of one text, so that hits are as
many as recorded whatever the policy: whose prompt began how is not in the log. Time in which nothing was recorded is
left out: the next bin follows at once.
"""

import math
import statistics
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

from cluster.simulator.scaling.protocol import BLOCK_TOKENS, Counts, Lengths, Objective, Protocol
from cluster.simulator.scaling.workload import BIN_S, Workload
from cluster.simulator.trace_request import MOST_TOKENS, TraceError, TraceRequest
from deployments.usage_log import Bin, bins

NEAR_BINS = 3
HIGHEST_HIT_RATE = 0.99
NOTHING = Bin(0.0, 0.0, 0)
Request = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One model's part of a usage log, from `from_s` to `to_s` (Unix time); played from its first bin on, at 0."""

    path: Path
    model: str
    from_s: float
    to_s: float
    block_tokens: int = BLOCK_TOKENS

    def bins(self) -> Iterator[Bin]:
        """Raises:
        UsageLogError: the file cannot be read to its end.
        """
        return bins(self.path, self.model, self.from_s, self.to_s)

    def requests(self, seed: int, speedup: float = 1.0) -> Iterator[TraceRequest]:
        """In order of arrival.

        Raises:
            UsageLogError: the file cannot be read to its end.
        """
        source = Random(f"usage {seed}")  # noqa: S311
        lengths = next((told for one in self.bins() if (told := _lengths([one]))), [])
        begin_s = 0.0
        for one, near in _with_near(self.bins()):
            lengths = _lengths(near) or lengths
            moments = sorted(source.random() for _ in range(one.requests))
            for moment, (prompt, cached, output) in zip(moments, _drawn(lengths, one.requests, source), strict=True):
                arrived_ms = (begin_s + moment * one.seconds) * 1000 / speedup
                yield TraceRequest(arrived_ms, prompt, output, tuple(range(round(cached / BLOCK_TOKENS))))
            begin_s += one.seconds


@dataclass(frozen=True, slots=True)
class Summary:
    """What was recorded: seconds of it, requests, means over sampled requests, requests per second in every minute."""

    seconds: float
    requests: int
    prompt_tokens: Lengths
    output_tokens: Lengths
    hit_rate: float
    rates: Sequence[float]


def summary_of(recorded: Recorded) -> Summary:
    """Raises:
    UsageLogError: the file cannot be read to its end.
    TraceError: there is no request, or no length of any.
    """
    arrived: Counter[int] = Counter()
    prompts, outputs, cached_tokens = array("q"), array("q"), 0
    begin_s, requests = 0.0, 0
    for one in recorded.bins():
        arrived[int(begin_s // BIN_S)] += one.requests
        for prompt, cached, output in _lengths([one]):
            prompts.append(prompt)
            outputs.append(output)
            cached_tokens += cached
        begin_s, requests = begin_s + one.seconds, requests + one.requests
    where = f"{recorded.path}: model {recorded.model!r}"
    if not requests:
        raise TraceError(f"{where}: not one request in {begin_s / 3600:.1f} recorded hours")
    if not prompts:
        raise TraceError(f"{where}: {requests:,} requests, but not how long any of them was")
    return Summary(
        seconds=begin_s,
        requests=requests,
        prompt_tokens=_mean_and_cv(prompts),
        output_tokens=_mean_and_cv(outputs),
        hit_rate=cached_tokens / sum(prompts),
        rates=[arrived[number] / _minute_s(number, begin_s) for number in range(math.ceil(begin_s / BIN_S))],
    )


def workload_of(
    recorded: Recorded, summary: Summary, profile: str, slo: Objective, replicas: Counts, cold_start_s: float
) -> Workload:
    """The rate of every minute is for the policies that may know the future."""
    segments = [(_minute_s(number, summary.seconds), rate, rate) for number, rate in enumerate(summary.rates)]
    protocol = Protocol(
        profile=profile,
        input_tokens=summary.prompt_tokens,
        output_tokens=summary.output_tokens,
        prefix_hit_rate=min(HIGHEST_HIT_RATE, summary.hit_rate),
        slo=slo,
        replicas=replicas,
        cold_start_s=cold_start_s,
        segments=segments,
    )
    return Workload(protocol, recorded)


def _minute_s(number: int, all_s: float) -> float:
    """How long it is: the last one may be shorter."""
    return min(BIN_S, all_s - number * BIN_S)


def _with_near(recorded: Iterable[Bin]) -> Iterator[tuple[Bin, Sequence[Bin]]]:
    """Each bin with those on either side of it."""
    edge = [NOTHING] * NEAR_BINS
    near: deque[Bin] = deque(maxlen=2 * NEAR_BINS + 1)
    for one in chain(edge, recorded, edge):
        near.append(one)
        if len(near) == near.maxlen:
            yield near[NEAR_BINS], near


def _lengths(recorded: Iterable[Bin]) -> list[Request]:
    return [
        (prompt, min(cached, prompt - 1), max(1, output))
        for one in recorded
        for prompt, cached, output in one.sampled
        if 0 < prompt <= MOST_TOKENS
    ]


def _drawn(lengths: Sequence[Request], count: int, source: Random) -> Sequence[Request]:
    """Each at most once where there are enough."""
    return source.sample(lengths, count) if count <= len(lengths) else source.choices(lengths, k=count)


def _mean_and_cv(tokens: Sequence[int]) -> Lengths:
    mean = statistics.fmean(tokens)
    variance = statistics.fmean((count - mean) ** 2 for count in tokens)
    return Lengths(mean=mean, cv=math.sqrt(variance) / mean)
