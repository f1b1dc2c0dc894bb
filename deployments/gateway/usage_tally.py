"""What this gateway's requests use, from their first token on, until state has been told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from deployments.gateway.spent import Spent
from deployments.gateway.usage_counts import Counts, Place, Row, utc_day
from engine.computed import Computed

ENGINES_WORD_S = 30.0
MOST_AWAITED = 10_000
Key = tuple[str, str]


class UsageTally:
    """Sums by day, tenant and model. A key is a replica and what names the request there.

    A stream is counted as it goes, so that a gateway that is killed loses what came since the last `take` and no more.
    Tokens belong to the day on which they are counted.
    """

    def __init__(self, today: Callable[[], int] = utc_day, now_s: Callable[[], float] = time.monotonic) -> None:
        self._today = today
        self._now_s = now_s
        self._rows: dict[Place, Counts] = {}
        self._open: dict[Key, RequestUsage] = {}
        self._broken_off: dict[Key, BrokenOff] = {}

    def add(self, tenant: str, model: str, counts: Counts) -> None:
        place = (self._today(), tenant, model)
        known = self._rows.get(place)
        self._rows[place] = counts if known is None else known + counts

    def request(self, tenant: str, model: str) -> "RequestUsage":
        return RequestUsage(self, tenant, model)

    def take(self) -> list[Row]:
        """What was not taken before."""
        for request in self._open.values():
            request.count_delivered()
        before_s = self._now_s() - ENGINES_WORD_S
        for key in [key for key, broken_off in self._broken_off.items() if broken_off.at_s < before_s]:
            del self._broken_off[key]
        rows, self._rows = self._rows, {}
        return list(rows.items())

    def spent(self, replica_id: str, key: str, computed: Computed) -> None:
        """An engine says what a request of this gateway took, which may be before or after its end here."""
        broken_off = self._broken_off.pop((replica_id, key), None)
        if broken_off is not None:
            broken_off.settle(self, computed)
        elif (replica_id, key) in self._open:
            self._open[replica_id, key].computed = computed

    def orphaned(self, tenant: str, model: str, computed: Computed) -> None:
        """An engine says what it computed for a gateway that is gone, of which nothing was sent."""
        self.add(tenant, model, _surplus(computed.prompt_tokens, computed.output_tokens))

    def opened(self, key: Key, request: "RequestUsage") -> None:
        self._open[key] = request

    def closed(self, key: Key) -> None:
        self._open.pop(key, None)

    def awaits_word(self, key: Key, tenant: str, model: str, delivered: Spent) -> None:
        """Of the engine, on what it computed of a request that was broken off. Of very many the oldest is given up."""
        if len(self._broken_off) >= MOST_AWAITED:
            del self._broken_off[next(iter(self._broken_off))]
        self._broken_off[key] = BrokenOff(tenant, model, delivered, self._now_s())


class RequestUsage:
    """One request of a client, on one replica after another. Counts no token twice."""

    __slots__ = ("_counted", "_delivered", "_is_counted", "_key", "_model", "_tally", "_tenant", "computed")

    def __init__(self, tally: UsageTally, tenant: str, model: str) -> None:
        self._tally, self._tenant, self._model = tally, tenant, model
        self._is_counted = False
        self._counted = Spent()
        self.computed: Computed | None = None

    def asks(self, key: Key, delivered: Callable[[], Spent]) -> None:
        """It is sent to a replica. `delivered`: what the client has got of its answer."""
        self._key, self._delivered = key, delivered
        self._tally.opened(key, self)

    def gives_up_replica(self) -> None:
        """It had sent nothing, and another is asked."""
        self._tally.closed(self._key)
        self.computed = None
        self._count(self._counted)

    def completed(self, told: Spent | None) -> Spent:
        """The answer is whole. `told`: what its engine says of it, which counts; None: it says nothing."""
        spent = told if told is not None else self._delivered()
        self._tally.closed(self._key)
        self._count(spent, completed=1)
        return spent

    def broke_off(self) -> Spent:
        """What was delivered counts; the rest is surplus, as soon as the engine says how much that is."""
        self.count_delivered()
        self._tally.closed(self._key)
        if self.computed is not None:
            broken_off = BrokenOff(self._tenant, self._model, self._counted, 0.0)
            broken_off.settle(self._tally, self.computed)
        else:
            self._tally.awaits_word(self._key, self._tenant, self._model, self._counted)
        return self._counted

    def refused(self) -> None:
        """The engine's answer is an error."""
        self._tally.closed(self._key)
        self._count(self._counted)

    def count_delivered(self) -> None:
        self._count(self._delivered())

    def _count(self, spent: Spent, completed: int = 0) -> None:
        known = self._counted
        if spent == known and self._is_counted and not completed:
            return
        news = Counts(
            0 if self._is_counted else 1,
            completed,
            spent.prompt_tokens - known.prompt_tokens,
            spent.cached_tokens - known.cached_tokens,
            spent.output_tokens - known.output_tokens,
        )
        self._is_counted, self._counted = True, spent
        self._tally.add(self._tenant, self._model, news)


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """A request whose client did not get it all: `delivered` is counted. `at_s`: monotonic."""

    tenant: str
    model: str
    delivered: Spent
    at_s: float

    def settle(self, tally: UsageTally, computed: Computed) -> None:
        """The prompt counts as delivered with the first token of the answer."""
        surplus_output = max(0, computed.output_tokens - self.delivered.output_tokens)
        if not self.delivered.output_tokens and not self.delivered.prompt_tokens:
            tally.add(self.tenant, self.model, _surplus(computed.prompt_tokens, surplus_output))
            return
        prompt = Counts(
            prompt_tokens=max(0, computed.prompt_tokens - self.delivered.prompt_tokens),
            cached_tokens=max(0, computed.cached_tokens - self.delivered.cached_tokens),
        )
        tally.add(self.tenant, self.model, prompt + _surplus(0, surplus_output))


def _surplus(prompt_tokens: int, output_tokens: int) -> Counts:
    return Counts(surplus_prompt_tokens=prompt_tokens, surplus_output_tokens=output_tokens)
