"""How long a replica takes from being asked for to serving, learned from those that did."""

from collections import deque

PRIOR_S = 120.0
REMEMBERED = 20
LEVEL = 0.9


class ColdStart:
    """The time that nine of ten starts of late kept; a guess before the first."""

    def __init__(self, prior_s: float = PRIOR_S) -> None:
        self._prior_s = prior_s
        self._taken_s: deque[float] = deque(maxlen=REMEMBERED)

    def took(self, seconds: float) -> None:
        self._taken_s.append(seconds)

    @property
    def is_known(self) -> bool:
        return bool(self._taken_s)

    @property
    def expected_s(self) -> float:
        if not self._taken_s:
            return self._prior_s
        ordered = sorted(self._taken_s)
        return ordered[min(len(ordered) - 1, int(LEVEL * len(ordered)))]
