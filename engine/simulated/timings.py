"""How long the simulated engine's requests took, in the histograms that vLLM has."""

import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

TTFT_BUCKETS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 60.0),
)
BETWEEN_TOKENS_BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_BUCKETS_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0),
    *(30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
STEP_TOKENS_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Histogram:
    """`bounds` are the highest values of the buckets."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Prometheus text."""
        below = list(accumulate(self._counts))
        yield f"# TYPE {name} histogram"
        for bound, count in zip((*self._bounds, "+Inf"), below, strict=True):
            yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
        yield f"{name}_count{{{labels}}} {below[-1]}"
        yield f"{name}_sum{{{labels}}} {self._sum}"


@dataclass(slots=True)
class RequestTimes:
    """When what happened to a request; None: not yet."""

    arrived_s: float
    in_batch_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None


@dataclass(slots=True)
class Timings:
    step_tokens: Histogram = field(default_factory=lambda: Histogram(STEP_TOKENS_BUCKETS))
    first_token: Histogram = field(default_factory=lambda: Histogram(TTFT_BUCKETS_S))
    between_tokens: Histogram = field(default_factory=lambda: Histogram(BETWEEN_TOKENS_BUCKETS_S))
    whole: Histogram = field(default_factory=lambda: Histogram(REQUEST_BUCKETS_S))
    queue: Histogram = field(default_factory=lambda: Histogram(REQUEST_BUCKETS_S))
    prefill: Histogram = field(default_factory=lambda: Histogram(REQUEST_BUCKETS_S))
    decode: Histogram = field(default_factory=lambda: Histogram(REQUEST_BUCKETS_S))
    ended: Counter[str] = field(default_factory=Counter)

    def token(self, times: RequestTimes, now_s: float) -> None:
        """One more of an answer."""
        if times.last_token_s is None:
            times.first_token_s = now_s
            self.first_token.observe(now_s - times.arrived_s)
        else:
            self.between_tokens.observe(now_s - times.last_token_s)
        times.last_token_s = now_s

    def end(self, times: RequestTimes, now_s: float, *, is_whole: bool) -> None:
        """As vLLM does, the times of what was cut off are counted too, as far as it came."""
        self.ended["length" if is_whole else "abort"] += 1
        self.whole.observe(now_s - times.arrived_s)
        if times.in_batch_s is not None:
            self.queue.observe(times.in_batch_s - times.arrived_s)
            if times.first_token_s is not None and times.last_token_s is not None:
                self.prefill.observe(times.first_token_s - times.in_batch_s)
                self.decode.observe(times.last_token_s - times.first_token_s)
