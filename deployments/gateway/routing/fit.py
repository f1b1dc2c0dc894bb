"""A line through the origin in two features, fitted as samples come: recursive, robust, forgetting."""

from dataclasses import dataclass, field

REMEMBERED_SAMPLES = 500.0
HUBER = 2.0
TYPICAL_MISS_MEMORY = 0.05


@dataclass(slots=True)
class TwoFeatureFit:
    """y ≈ a·u + b·v, errors weighed relative to y, so that short and long work count alike.

    `prior`: a and b before any sample, worth one sample. Samples further off than twice the typical miss count less
    (Huber 1964); the fit halves the weight of old samples every 350. Neither coefficient falls below zero.
    """

    prior: tuple[float, float]
    samples: float = 0.0
    typical_miss: float = 1.0
    _uu: float = 0.0
    _uv: float = 0.0
    _vv: float = 0.0
    _uy: float = 0.0
    _vy: float = 0.0
    coefficients: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        self.coefficients = self.prior

    def add(self, u: float, v: float, y: float) -> None:
        """A sample; one that is not positive tells nothing."""
        predicted = self.coefficients[0] * u + self.coefficients[1] * v
        scale = max(y, predicted)
        if y <= 0 or predicted <= 0:
            return
        miss = abs(y - predicted) / scale
        weight = min(1.0, HUBER * self.typical_miss / miss) if miss else 1.0
        self.typical_miss += TYPICAL_MISS_MEMORY * (miss - self.typical_miss)
        keep = 1 - 1 / REMEMBERED_SAMPLES
        u, v, y, gain = u / scale, v / scale, y / scale, weight
        self._uu = keep * self._uu + gain * u * u
        self._uv = keep * self._uv + gain * u * v
        self._vv = keep * self._vv + gain * v * v
        self._uy = keep * self._uy + gain * u * y
        self._vy = keep * self._vy + gain * v * y
        self.samples = keep * self.samples + 1
        self.coefficients = self._solve()

    def _solve(self) -> tuple[float, float]:
        """Normal equations with the prior as one relative sample of each coefficient."""
        a, b = self.prior
        uu, vv = self._uu + 1 / (a * a), self._vv + 1 / (b * b)
        uy, vy = self._uy + 1 / a, self._vy + 1 / b
        determinant = uu * vv - self._uv * self._uv
        first = (uy * vv - vy * self._uv) / determinant
        second = (vy * uu - uy * self._uv) / determinant
        if first <= 0:
            return 1e-9, vy / vv
        if second <= 0:
            return uy / uu, 1e-9
        return first, second


@dataclass(slots=True)
class Factor:
    """How many times longer than predicted one replica takes: decayed sums, shrunk to 1 by `prior_ms` of evidence."""

    prior_ms: float
    remembered_ms: float
    _observed_ms: float = 0.0
    _predicted_ms: float = 0.0

    def add(self, observed_ms: float, predicted_ms: float) -> None:
        keep = max(0.0, 1 - predicted_ms / self.remembered_ms)
        self._observed_ms = keep * self._observed_ms + observed_ms
        self._predicted_ms = keep * self._predicted_ms + predicted_ms

    @property
    def value(self) -> float:
        return (self._observed_ms + self.prior_ms) / (self._predicted_ms + self.prior_ms)
