"""What one gateway's requests came to in the last minute: told of each as it ends, bounded however many there are."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.gateway.request_record import RequestRecord

SECONDS = 60
STEP = math.log(1.05)
LEAST_MS = 0.1
MOST_MODELS = 256
MOST_REPLICAS_A_SECOND = 512


@dataclass(slots=True)
class Sums:
    """Requests that ended, and what they took. `ttfts`: by steps of five percent, so that they add up over gateways."""

    requests: int = 0
    failed: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    judged: int = 0
    met: int = 0
    ttfts: Counter[int] = field(default_factory=Counter)

    def add(self, other: "Sums") -> None:
        self.requests += other.requests
        self.failed += other.failed
        self.output_tokens += other.output_tokens
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens += other.cached_tokens
        self.judged += other.judged
        self.met += other.met
        self.ttfts.update(other.ttfts)

    def document(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in COUNTS}
        return counts | {"ttfts": [[step, count] for step, count in sorted(self.ttfts.items())]}

    @staticmethod
    def of(document: Mapping[str, Any]) -> "Sums":
        return Sums(**{name: document[name] for name in COUNTS}, ttfts=Counter(dict(map(tuple, document["ttfts"]))))


COUNTS = ("requests", "failed", "output_tokens", "prompt_tokens", "cached_tokens", "judged", "met")
FAILED = frozenset({"failed", "broken", "timed_out", "shed"})


@dataclass(slots=True)
class _Second:
    at_s: int
    models: dict[str, Sums] = field(default_factory=dict)
    replicas: dict[str, list[int]] = field(default_factory=dict)


class LastMinute:
    """An observer: given each request's record at its end."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._began_s = now_s()
        self._ring = [_Second(-1) for _ in range(SECONDS)]

    def __call__(self, record: RequestRecord) -> None:
        second = self._second()
        sums = second.models.get(record.model)
        if sums is None:
            if len(second.models) >= MOST_MODELS:
                return
            sums = second.models[record.model] = Sums()
        sums.requests += 1
        sums.failed += record.outcome in FAILED
        sums.output_tokens += record.output_tokens
        sums.prompt_tokens += record.prompt_tokens
        sums.cached_tokens += record.cached_tokens
        if record.slo_met is not None:
            sums.judged += 1
            sums.met += record.slo_met
        if record.ttft_ms is not None:
            sums.ttfts[step_of(record.ttft_ms)] += 1
        if record.replica and record.prompt_tokens:
            self._hit(second.replicas, record.replica, record.prompt_tokens, record.cached_tokens)

    @property
    def window_s(self) -> float:
        """How long it has been listening, at most a minute."""
        return min(float(SECONDS), max(1.0, self._now_s() - self._began_s))

    def by_model(self) -> dict[str, Sums]:
        together: dict[str, Sums] = {}
        for second in self._recent():
            for model, sums in second.models.items():
                together.setdefault(model, Sums()).add(sums)
        return together

    def prompts_by_replica(self) -> dict[str, tuple[int, int]]:
        """Prompt tokens, and those of them that its cache had."""
        together: dict[str, tuple[int, int]] = {}
        for second in self._recent():
            for replica, (prompt, cached) in second.replicas.items():
                before = together.get(replica, (0, 0))
                together[replica] = (before[0] + prompt, before[1] + cached)
        return together

    def _second(self) -> _Second:
        at_s = int(self._now_s())
        second = self._ring[at_s % SECONDS]
        if second.at_s != at_s:
            second = self._ring[at_s % SECONDS] = _Second(at_s)
        return second

    def _recent(self) -> Iterable[_Second]:
        since_s = int(self._now_s()) - SECONDS
        return [second for second in self._ring if second.at_s > since_s]

    @staticmethod
    def _hit(replicas: dict[str, list[int]], replica: str, prompt: int, cached: int) -> None:
        sums = replicas.get(replica)
        if sums is not None:
            sums[0] += prompt
            sums[1] += cached
        elif len(replicas) < MOST_REPLICAS_A_SECOND:
            replicas[replica] = [prompt, cached]


def step_of(ttft_ms: float) -> int:
    return round(math.log(max(LEAST_MS, ttft_ms)) / STEP)


def quantile_ms(ttfts: Mapping[int, int], share: float) -> float | None:
    """To within two and a half percent; None of nothing."""
    wanted = share * sum(ttfts.values())
    seen = 0
    for step, count in sorted(ttfts.items()):
        seen += count
        if seen >= wanted:
            return math.exp(step * STEP)
    return None
