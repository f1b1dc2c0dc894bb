"""How fast a queue is let in, and so how long one more request will wait."""

import math

REMEMBERED_S = 30.0


class DrainRate:
    """Tokens a second while somebody waited, the last half minute of waiting counting most. Times in seconds."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0
        self._since_s: float | None = None

    def began(self, now_s: float) -> None:
        """Somebody waits again."""
        self._since_s = now_s

    def let_in(self, tokens: float, now_s: float) -> None:
        """A request of those that wait went to a replica."""
        elapsed_s = max(0.0, now_s - self._since_s) if self._since_s is not None else 0.0
        keep = math.exp(-elapsed_s / REMEMBERED_S)
        self._tokens, self._seconds = keep * self._tokens + tokens, keep * self._seconds + elapsed_s
        self._since_s = now_s

    def wait_s(self, tokens_ahead: float) -> float:
        """Until so much has been let in; 0 as long as nothing is known."""
        if not self._tokens or not self._seconds:
            return 0.0
        return tokens_ahead * self._seconds / self._tokens
