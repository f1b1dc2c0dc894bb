"""Demand some minutes from now: the line or the level that the last samples follow, and the same time yesterday.

The recent past is cut in two, each part a level or a line: a jump is a new level and not the begin of a slope, a slope
that has ended is a level. The last part is what goes on, a line for half as long as it has lasted. Where the cut is,
and whether it is a line, is not decided: all that may be, by the Bayesian information criterion (Schwarz 1978), counts
by how likely it is. What such forecasts missed before is part of the next (`misses.py`): demand that grows out of
nothing has done so before, or will.
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
LINE_GOES_ON = 0.5
MOST_PARTS, NEGLIGIBLE = 12, 1e-3
MOST_DEVIATIONS = 6.0
QUANTILE_BISECTIONS = 16
MEDIAN_OF_SQUARED_NORMAL = 0.455
DAY_S = 86_400.0
BINS_OF_DAY = 288
DAY_RATIO = 2.0
RECALLED_PART = 0.5


class Segment(NamedTuple):
    """`samples` samples follow `level` + `slope`·(t − `centre_s`); `squares`: what is left of them."""

    level: float
    slope: float
    centre_s: float
    squares: float
    samples: int
    spread_s2: float


class Likely(NamedTuple):
    """A last part, and how likely it is that this is the right one."""

    probability: float
    segment: Segment


@dataclass(frozen=True, slots=True)
class Outlook:
    """What may go on from `now_s`. `variance`: of a sample about it."""

    parts: Sequence[Likely]
    now_s: float
    variance: float

    def mean_at(self, ahead_s: float) -> float:
        return sum(probability * self._mean(segment, ahead_s) for probability, segment in self.parts)

    def quantile_at(self, ahead_s: float, level: float) -> float:
        """Of the mean, not of single samples: where all parts together leave this much below."""
        normals = [
            (probability, self._mean(segment, ahead_s), self._deviation(segment, ahead_s))
            for probability, segment in self.parts
        ]
        low = min(mean - MOST_DEVIATIONS * deviation for _, mean, deviation in normals)
        high = max(mean + MOST_DEVIATIONS * deviation for _, mean, deviation in normals)
        for _ in range(QUANTILE_BISECTIONS):
            middle = (low + high) / 2
            below = sum(p * math.erfc((mean - middle) / (deviation * math.sqrt(2))) for p, mean, deviation in normals)
            low, high = (low, middle) if below / 2 >= level else (middle, high)
        return high

    def _mean(self, segment: Segment, ahead_s: float) -> float:
        lasted_s = 2 * (self.now_s - segment.centre_s)
        return max(0.0, segment.level + segment.slope * (lasted_s / 2 + min(ahead_s, LINE_GOES_ON * lasted_s)))

    def _deviation(self, segment: Segment, ahead_s: float) -> float:
        relative = 1 / segment.samples
        if segment.slope:
            relative += (self.now_s + ahead_s - segment.centre_s) ** 2 / segment.spread_s2
        return math.sqrt(self.variance * relative)


class Forecast:
    """Give it samples at even times, each with the variance that chance alone gives it."""

    def __init__(self, day_s: float = DAY_S) -> None:
        self._day_s = day_s
        self._samples: deque[tuple[float, float, float]] = deque()
        self._days: dict[int, tuple[float, int]] = {}
        self._outlook: Outlook | None = None
        self._before: Outlook | None = None
        self._misses = Misses()
        self._untold: list[tuple[float, float]] = []

    def add(self, now_s: float, value: float, variance: float, horizon_s: float) -> None:
        """`horizon_s`: how far ahead is asked for; twice as far it looks back."""
        self._remember_day(now_s, value)
        self._look(now_s, value, variance, horizon_s)

    def recall(self, from_s: float, to_s: float, value: float, horizon_s: float) -> None:
        """What came before there was anybody to look, oldest first: of use as the same time yesterday, and to know what
        forecasts of it would have missed.
        """
        at_s = from_s
        while at_s < to_s:
            self._remember_day(at_s, value)
            at_s += self._day_s / BINS_OF_DAY
        self._untold.append((to_s - from_s, value))
        seconds = sum(lasted_s for lasted_s, _ in self._untold)
        if seconds >= RECALLED_PART * horizon_s:
            came = sum(lasted_s * rate for lasted_s, rate in self._untold)
            self._look(to_s, came / seconds, max(1.0, came) / seconds**2, horizon_s)
            self._untold = []

    def _look(self, now_s: float, value: float, variance: float, horizon_s: float) -> None:
        self._samples.append((now_s, value, variance))
        while self._samples[0][0] < now_s - 2 * horizon_s:
            self._samples.popleft()
        parts, noise = last_parts(list(self._samples))
        self._before, self._outlook = self._outlook, Outlook(parts, now_s, noise)
        expected = max(self.mean(0.0), self.mean(horizon_s))
        self._misses.look(now_s, self._outlook.mean_at(0.0), expected, horizon_s)

    def mean(self, ahead_s: float) -> float:
        if self._outlook is None:
            return 0.0
        return max(self._outlook.mean_at(ahead_s), self._as_yesterday(self._outlook, ahead_s))

    def quantile(self, ahead_s: float, level: float) -> float:
        """The mean so far ahead, by as much more as noise, at two looks in a row, and what was missed before make
        likely.
        """
        if self._outlook is None:
            return 0.0
        mean = self.mean(ahead_s)
        likely = min(outlook.quantile_at(ahead_s, level) for outlook in (self._outlook, self._before) if outlook)
        return max(mean, likely, self._misses.quantile(level, mean) if ahead_s else mean)

    def _remember_day(self, now_s: float, value: float) -> None:
        number = self._bin_of(now_s)
        total, count = self._days.get(number, (0.0, 0))
        self._days[number] = (total + value, count + 1)
        self._days.pop(number - BINS_OF_DAY * 3 // 2, None)

    def _as_yesterday(self, outlook: Outlook, ahead_s: float) -> float:
        then, there = (self._mean_of(outlook.now_s - self._day_s + shift_s) for shift_s in (0.0, ahead_s))
        if then is None or there is None:
            return 0.0
        now = outlook.mean_at(0.0)
        ratio = now / then if then else DAY_RATIO if now else 1.0
        return min(DAY_RATIO, max(1 / DAY_RATIO, ratio)) * there

    def _mean_of(self, at_s: float) -> float | None:
        total, count = self._days.get(self._bin_of(at_s), (0.0, 0))
        return total / count if count else None

    def _bin_of(self, at_s: float) -> int:
        return int(at_s / self._day_s * BINS_OF_DAY)


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


def last_parts(samples: Sequence[tuple[float, float, float]]) -> tuple[list[Likely], float]:
    """The parts that the present may belong to, the likeliest first, and the variance of samples about them.

    A sample: time, value, variance.
    """
    sums, count = _Sums(samples), len(samples)
    noise, each_unknown = _noise(samples), math.log(count)
    scored: list[tuple[float, Segment]] = []
    for begin in range(count):
        before = [_score(left, noise, each_unknown) for left in _fits(sums, 0, begin)] if begin else []
        cut = min(before) + CUT_UNKNOWNS * each_unknown if begin else 0.0
        scored += [(cut + _score(right, noise, each_unknown), right) for right in _fits(sums, begin, count)]
    scored.sort(key=lambda part: part[0])
    weighed = [(math.exp((scored[0][0] - score) / 2), part) for score, part in scored[:MOST_PARTS]]
    kept = [(weight, part) for weight, part in weighed if weight > NEGLIGIBLE]
    total = sum(weight for weight, _ in kept)
    return [Likely(weight / total, part) for weight, part in kept], noise


def _score(part: Segment, noise: float, each_unknown: float) -> float:
    return part.squares / noise + (1 + bool(part.slope)) * each_unknown


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
