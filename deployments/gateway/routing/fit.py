"""A line through the origin in a few features, fitted as samples come: recursive, robust, forgetting."""

from collections.abc import Sequence
from dataclasses import dataclass, field

REMEMBERED_SAMPLES = 500.0
HUBER = 2.0
TYPICAL_MISS_MEMORY = 0.05
NEXT_TO_NOTHING = 1e-9


@dataclass(slots=True)
class LinearFit:
    """y ≈ Σ aᵢ·xᵢ with no aᵢ below zero, errors weighed relative to y, so that short and long work count alike.

    `prior`: the coefficients before any sample, worth one sample. Samples further off than twice the typical miss
    count less (Huber 1964); the fit halves the weight of old samples every 350.
    """

    prior: tuple[float, ...]
    samples: float = 0.0
    typical_miss: float = 1.0
    coefficients: tuple[float, ...] = field(init=False)
    _xx: list[list[float]] = field(init=False)
    _xy: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.coefficients = self.prior
        self._xx = [[0.0] * len(self.prior) for _ in self.prior]
        self._xy = [0.0] * len(self.prior)

    def add(self, x: Sequence[float], y: float) -> None:
        """A sample; one that is not positive tells nothing."""
        predicted = sum(map(float.__mul__, self.coefficients, x))
        if y <= 0 or predicted <= 0:
            return
        scale = max(y, predicted)
        miss = abs(y - predicted) / scale
        gain = min(1.0, HUBER * self.typical_miss / miss) if miss else 1.0
        self.typical_miss += TYPICAL_MISS_MEMORY * (miss - self.typical_miss)
        keep = 1 - 1 / REMEMBERED_SAMPLES
        relative = [feature / scale for feature in x]
        for i, feature in enumerate(relative):
            row = self._xx[i]
            for j, other in enumerate(relative):
                row[j] = keep * row[j] + gain * feature * other
            self._xy[i] = keep * self._xy[i] + gain * feature * y / scale
        self.samples = keep * self.samples + 1
        self.coefficients = self._solve(tuple(range(len(self.prior))))

    def _solve(self, kept: tuple[int, ...]) -> tuple[float, ...]:
        """Normal equations with the prior as one relative sample of each coefficient; the least goes while below 0."""
        equations = [
            [self._xx[i][j] + (i == j) / self.prior[i] ** 2 for j in kept] + [self._xy[i] + 1 / self.prior[i]]
            for i in kept
        ]
        solved = dict(zip(kept, _eliminated(equations), strict=True))
        least = min(solved, key=lambda i: solved[i] / self.prior[i])
        if solved[least] <= 0 and len(kept) > 1:
            return self._solve(tuple(i for i in kept if i != least))
        return tuple(max(NEXT_TO_NOTHING, solved.get(i, 0.0)) for i in range(len(self.prior)))


def _eliminated(rows: list[list[float]]) -> list[float]:
    """The solution of a positive definite system, each row with its right side at the end (Gauss)."""
    count = len(rows)
    for pivot in range(count):
        for row in range(pivot + 1, count):
            factor = rows[row][pivot] / rows[pivot][pivot]
            for column in range(pivot, count + 1):
                rows[row][column] -= factor * rows[pivot][column]
    solution = [0.0] * count
    for row in reversed(range(count)):
        known = sum(rows[row][column] * solution[column] for column in range(row + 1, count))
        solution[row] = (rows[row][count] - known) / rows[row][row]
    return solution


@dataclass(slots=True)
class Factor:
    """How many times longer than predicted a replica takes: decayed sums, shrunk by `prior_ms` of evidence to 1, or to
    what is usual.
    """

    prior_ms: float
    remembered_ms: float
    _observed_ms: float = 0.0
    _predicted_ms: float = 0.0

    def add(self, observed_ms: float, predicted_ms: float) -> None:
        keep = max(0.0, 1 - predicted_ms / self.remembered_ms)
        self._observed_ms = keep * self._observed_ms + observed_ms
        self._predicted_ms = keep * self._predicted_ms + predicted_ms

    def value(self, kept: float = 1.0, usual: float = 1.0) -> float:
        """`kept`: how much of the evidence still counts."""
        return (kept * self._observed_ms + usual * self.prior_ms) / (kept * self._predicted_ms + self.prior_ms)
