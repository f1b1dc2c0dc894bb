"""Demand some minutes from now: the line or the level that the last samples follow, and the same time yesterday.

The recent past is cut in two where that explains it best, each part a level or a line, by the Bayesian information
criterion (Schwarz 1978): a jump is a new level and not the begin of a slope, a slope that has ended is a level. The
last part is what goes on. What such forecasts missed before is part of the next: demand that grows out of nothing has
done so before, or will.
"""

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from cluster.autoscaler.misses import Misses

LEAST_LINE_SAMPLES = 10
CUT_UNKNOWNS = 3
MEDIAN_OF_SQUARED_NORMAL = 0.455
DAY_S = 86_400.0
DAY_BIN_S = 300.0
DAY_RATIO = 2.0


class Segment(NamedTuple):
    """`samples` samples follow `level` + `slope`·(t − `centre_s`); `squares`: what is left of them."""

    level: float
    slope: float
    centre_s: float
    squares: float
    samples: int
    spread_s2: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What goes on from `now_s`. `variance`: of a sample about it."""

    segment: Segment
    now_s: float
    variance: float

    def mean_at(self, ahead_s: float) -> float:
        segment = self.segment
        return max(0.0, segment.level + segment.slope * (self.now_s + ahead_s - segment.centre_s))

    def deviation_at(self, ahead_s: float) -> float:
        """Of the mean, not of single samples."""
        segment = self.segment
        relative = 1 / segment.samples
        if segment.slope:
            relative += (self.now_s + ahead_s - segment.centre_s) ** 2 / segment.spread_s2
        return math.sqrt(self.variance * relative)


class Forecast:
    """Give it samples at even times, each with the variance that chance alone gives it."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, float]] = deque()
        self._days: dict[int, tuple[float, int]] = {}
        self._outlook: Outlook | None = None
        self._misses = Misses()

    def add(self, now_s: float, value: float, variance: float, horizon_s: float) -> None:
        """`horizon_s`: how far ahead is asked for; twice as far it looks back."""
        self._samples.append((now_s, value, variance))
        while self._samples[0][0] < now_s - 2 * horizon_s:
            self._samples.popleft()
        self._remember_day(now_s, value)
        segment, noise = last_part(list(self._samples))
        self._outlook = Outlook(segment, now_s, noise)
        expected = max(self.mean(0.0), self.mean(horizon_s))
        self._misses.look(now_s, self._outlook.mean_at(0.0), expected, horizon_s)

    def mean(self, ahead_s: float) -> float:
        if self._outlook is None:
            return 0.0
        return max(self._outlook.mean_at(ahead_s), self._as_yesterday(self._outlook, ahead_s))

    def quantile(self, ahead_s: float, level: float) -> float:
        """The mean so far ahead, by as much more as noise and what was missed before make likely."""
        if self._outlook is None:
            return 0.0
        mean = self.mean(ahead_s)
        noise = statistics.NormalDist().inv_cdf(level) * self._outlook.deviation_at(ahead_s)
        return max(mean + noise, self._misses.quantile(level, mean) if ahead_s else mean)

    def _remember_day(self, now_s: float, value: float) -> None:
        number = int(now_s // DAY_BIN_S)
        total, count = self._days.get(number, (0.0, 0))
        self._days[number] = (total + value, count + 1)
        self._days.pop(number - int(1.5 * DAY_S / DAY_BIN_S), None)

    def _as_yesterday(self, outlook: Outlook, ahead_s: float) -> float:
        then, there = (self._mean_of(outlook.now_s - DAY_S + shift_s) for shift_s in (0.0, ahead_s))
        if then is None or there is None:
            return 0.0
        now = outlook.mean_at(0.0)
        ratio = now / then if then else DAY_RATIO if now else 1.0
        return min(DAY_RATIO, max(1 / DAY_RATIO, ratio)) * there

    def _mean_of(self, at_s: float) -> float | None:
        total, count = self._days.get(int(at_s // DAY_BIN_S), (0.0, 0))
        return total / count if count else None


class _Sums:
    """Prefix sums, so that a part's fit costs the same whatever its length."""

    def __init__(self, samples: Sequence[tuple[float, float, float]]) -> None:
        self._origin_s = samples[0][0]
        t = [at_s - self._origin_s for at_s, _, _ in samples]
        x = [value for _, value, _ in samples]
        self._t, self._x, self._tt, self._tx, self._xx = (
            [0.0, *accumulate(values)]
            for values in (t, x, [a * a for a in t], [a * b for a, b in zip(t, x, strict=True)], [b * b for b in x])
        )

    def fit(self, begin: int, end: int, *, line: bool) -> Segment:
        n = end - begin
        t, x, tt, tx, xx = (sums[end] - sums[begin] for sums in (self._t, self._x, self._tt, self._tx, self._xx))
        centre, level = t / n, x / n
        spread = max(tt - t * centre, 1e-9)
        across = tx - t * level
        slope = across / spread if line else 0.0
        squares = max(0.0, xx - x * level - slope * across)
        return Segment(level, slope, self._origin_s + centre, squares, n, spread)


def last_part(samples: Sequence[tuple[float, float, float]]) -> tuple[Segment, float]:
    """The part that the present belongs to, and the variance of samples about it. A sample: time, value, variance."""
    sums, count = _Sums(samples), len(samples)
    noise = _noise(samples)
    best_score, best = math.inf, sums.fit(0, count, line=False)
    for begin in range(count):
        for right in _fits(sums, begin, count):
            for left in _fits(sums, 0, begin) if begin else [None]:
                squares, unknowns = right.squares, 1 + bool(right.slope)
                if left:
                    squares, unknowns = squares + left.squares, unknowns + 1 + bool(left.slope) + CUT_UNKNOWNS
                score = squares / noise + unknowns * math.log(count)
                if score < best_score:
                    best_score, best = score, right
    return best, noise


def _fits(sums: _Sums, begin: int, end: int) -> list[Segment]:
    level = sums.fit(begin, end, line=False)
    return [level, sums.fit(begin, end, line=True)] if end - begin >= LEAST_LINE_SAMPLES else [level]


def _noise(samples: Sequence[tuple[float, float, float]]) -> float:
    """What chance gives a sample, or what neighbours differ by if that is more: arrivals come in bursts too."""
    chance = statistics.fmean(variance for _, _, variance in samples)
    if len(samples) < LEAST_LINE_SAMPLES:
        return max(chance, 1e-12)
    differences = [(after[1] - before[1]) ** 2 for before, after in pairwise(samples)]
    return max(chance, statistics.median(differences) / MEDIAN_OF_SQUARED_NORMAL / 2, 1e-12)
