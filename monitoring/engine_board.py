"""Which engines of a node to ask, and which to miss: those that are lost are shown as such for a while. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from monitoring.engine_scrape import Engine

LOST_SHOWN_S = 60.0


@dataclass(frozen=True, slots=True)
class Gone:
    engine: Engine
    since_s: float


class EngineBoard:
    """An engine that has left is asked on as long as it answers: it may finish requests. Then it is down for
    `LOST_SHOWN_S`, so that every scraper sees it, unless it was asked to go.
    """

    def __init__(self) -> None:
        self._present: dict[str, Engine] = {}
        self._gone: dict[str, Gone] = {}
        self._asked_to_go: frozenset[str] = frozenset()

    def replace(self, engines: Collection[Engine], now_s: float) -> None:
        present = {engine.replica: engine for engine in engines}
        for replica, engine in self._present.items():
            if replica not in present:
                self._gone[replica] = Gone(engine, now_s)
        self._gone = {replica: gone for replica, gone in self._gone.items() if replica not in present}
        self._present = present

    def asked_to_go(self, replicas: Collection[str]) -> None:
        self._asked_to_go = frozenset(replicas)

    def to_ask(self) -> list[Engine]:
        return [*self._present.values(), *(gone.engine for gone in self._gone.values())]

    def seen(self, asked: Collection[Engine], answered: Collection[str], now_s: float) -> Mapping[Engine, bool]:
        """Each engine to be shown, and whether it is up. Not one that came after others were `asked`."""
        gone = {}
        for replica, left in self._gone.items():
            if replica in answered:
                gone[replica] = Gone(left.engine, now_s)
            elif replica not in self._asked_to_go and now_s - left.since_s < LOST_SHOWN_S:
                gone[replica] = left
        self._gone = gone
        known = {engine.replica for engine in asked}
        return {engine: engine.replica in answered for engine in self.to_ask() if engine.replica in known}
