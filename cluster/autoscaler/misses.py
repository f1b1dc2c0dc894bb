"""How many times more came than a forecast said. One spike says what may follow on calm, and nothing of what may follow
on a spike: so of what was missed, that counts which was missed from about the level that there is now.
"""

import math
import statistics
from collections import deque

SIMILAR = 2.0
REMEMBERED = 720
PRIOR_WEIGHT = 2.0
PRIOR_SPREAD = 0.15
PRIOR_POINTS = 20
PRIOR = tuple(
    math.exp(PRIOR_SPREAD * statistics.NormalDist().inv_cdf((i + 0.5) / PRIOR_POINTS)) for i in range(PRIOR_POINTS)
)


class Misses:
    """Of forecasts that were made one after the other, each for the time until the next."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._expected = self._came = 0.0
        self._until_s = -math.inf

    def look(self, now_s: float, level: float, expected: float, horizon_s: float) -> None:
        """What is there, and what is expected at most within a horizon from now: no forecast yet in the first."""
        if self._until_s == -math.inf:
            self._until_s = now_s + horizon_s
        self._came = max(self._came, level)
        if now_s < self._until_s:
            return
        if self._expected > 0:
            self._seen.append((self._expected, self._came))
        self._expected, self._came, self._until_s = expected, level, now_s + horizon_s

    def quantile(self, level: float, expected: float) -> float:
        """What comes stays below with this probability: of n values in order the k-th, at k/(n + 1). It is as many
        times more than expected as it was before, or as much more, whichever is less.
        """
        came = [
            (min(expected * came / was, expected + came - was), 1.0)
            for was, came in self._seen
            if expected / SIMILAR <= was <= expected * SIMILAR
        ]
        weighed = sorted(came + [(expected * times, PRIOR_WEIGHT / PRIOR_POINTS) for times in PRIOR])
        enough, below = level * (len(came) + PRIOR_WEIGHT + 1), 0.0
        for value, weight in weighed:
            below += weight
            if below >= enough:
                return value
        return weighed[-1][0]
