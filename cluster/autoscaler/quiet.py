"""When the last replica may go: once nobody has asked for so long that going is likely to save more than it costs.

To come back costs a cold start twice: a replica is paid for that serves nobody yet, and somebody waits for it. What has
been quiet for some time is expected to stay so for as long again (a prior without scale), or as long as such silences
lasted before.
"""

import math
import statistics
from collections import deque

REMEMBERED = 20
COSTS_COLD_STARTS = 2.0


class Quiet:
    """Told at each look whether anybody asks."""

    def __init__(self) -> None:
        self._since_s = math.inf
        self._lasted_s: deque[float] = deque(maxlen=REMEMBERED)

    def look(self, since_s: float, now_s: float, *, asked: bool) -> None:
        if not asked:
            self._since_s = min(self._since_s, since_s)
        elif self._since_s < math.inf:
            self._lasted_s.append(now_s - self._since_s)
            self._since_s = math.inf

    def is_worth_leaving(self, now_s: float, cold_start_s: float) -> bool:
        """Whether it has been quiet for a cold start, and half of what is known says that it stays so for two."""
        quiet_s = now_s - self._since_s
        if quiet_s < cold_start_s:
            return False
        remaining_s = [quiet_s, *(lasted_s - quiet_s for lasted_s in self._lasted_s if lasted_s > quiet_s)]
        return statistics.median(remaining_s) >= COSTS_COLD_STARTS * cold_start_s
