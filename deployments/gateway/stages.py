"""Where a request's time goes: it is in one stage at a time, so the stages always add up to the whole."""

from time import monotonic

NAMES = ("auth", "read", "queue", "route", "connect", "engine", "retry")
AUTH, READ, QUEUE, ROUTE, CONNECT, ENGINE, RETRY = range(len(NAMES))


class Stages:
    """One request's, in milliseconds; begins in `AUTH`. Nothing is added once it has ended."""

    __slots__ = ("_since_ms", "_stage", "began_ms", "ended_ms", "spent_ms")

    def __init__(self) -> None:
        self.began_ms = self._since_ms = monotonic() * 1000
        self.ended_ms: float | None = None
        self.spent_ms = [0.0] * len(NAMES)
        self._stage = AUTH

    def enter(self, stage: int) -> None:
        if self.ended_ms is None:
            now_ms = monotonic() * 1000
            self.spent_ms[self._stage] += now_ms - self._since_ms
            self._stage, self._since_ms = stage, now_ms

    def give_up_replica(self) -> None:
        """Another is asked: what this one took was for nothing."""
        self.enter(ROUTE)
        spent_ms = self.spent_ms
        spent_ms[RETRY] += spent_ms[CONNECT] + spent_ms[ENGINE]
        spent_ms[CONNECT] = spent_ms[ENGINE] = 0.0

    def so_far_ms(self) -> list[float]:
        """By stage, that it is in included."""
        self.enter(self._stage)
        return self.spent_ms

    def now_ms(self) -> float:
        """Since it began; once it has ended, how long it took."""
        return (monotonic() * 1000 if self.ended_ms is None else self.ended_ms) - self.began_ms

    def end(self) -> None:
        """With the last byte of the answer, or when the client leaves. A second call does nothing."""
        self.enter(self._stage)
        if self.ended_ms is None:
            self.ended_ms = self._since_ms

    @property
    def e2e_ms(self) -> float:
        return self._since_ms - self.began_ms
