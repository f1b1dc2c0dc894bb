"""Who gets the GPUs where models together want more than there are: by priority, decided here alone. Pure.

Every model's least comes first. Then higher priorities get what they want; of equals, what runs stays, and the next
replica goes to whom load presses most. A replica is so taken away only for a higher priority, or for another's least.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

TOLERANCE = 1e-9
NAMED = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """What a model's own autoscaler wants. `have`: replicas that run or start. `replica`: what one takes, by resource.
    `load`: what is coming ÷ what one replica bears; with n replicas the model's pressure is load ÷ n.
    """

    model: str
    desired: int
    least: int
    have: int
    replica: Mapping[str, float]
    priority: int
    load: float

    @property
    def floor(self) -> int:
        return min(self.least, self.desired)


@dataclass(frozen=True, slots=True)
class Grant:
    """`reason`: why it is less than was desired; empty if it is not."""

    replicas: int
    reason: str = ""


def share(claims: Sequence[Claim], capacity: Mapping[str, float]) -> dict[str, Grant]:
    """By model. `capacity`: all that models may use of a resource; what is not in it is without limit.

    Never more than the capacity: leasts that do not all fit are granted by priority too. Applied to its own result it
    changes nothing.
    """
    sharing = _Sharing(claims, capacity)
    if not sharing.scarce:
        return {claim.model: Grant(claim.desired) for claim in claims}
    ordered = sorted(claims, key=lambda claim: (-claim.priority, claim.model))
    levels = [list(level) for _, level in groupby(ordered, key=lambda claim: claim.priority)]
    for goal in (lambda claim: claim.floor, lambda claim: claim.desired):
        for level in levels:
            sharing.serve(level, goal)
    return {claim.model: Grant(sharing.granted[claim.model], sharing.reason(claim)) for claim in claims}


class _Sharing:
    """Knows only resources of which more is wanted than there is."""

    def __init__(self, claims: Sequence[Claim], capacity: Mapping[str, float]) -> None:
        wanted = {name: sum([claim.replica.get(name, 0.0) * claim.desired for claim in claims]) for name in capacity}
        self.scarce = [name for name, most in capacity.items() if wanted[name] > most + TOLERANCE]
        self._capacity = capacity
        self._free = [capacity[name] for name in self.scarce]
        self._each = {claim.model: [claim.replica.get(name, 0.0) for name in self.scarce] for claim in claims}
        self._claims = claims
        self._holders: dict[int, dict[str, str]] = {}
        self.granted = {claim.model: 0 for claim in claims}

    def serve(self, equals: Sequence[Claim], goal: Callable[[Claim], int]) -> None:
        """As far as there is room: what they have first, then more."""
        if not self._all_get(equals, goal):
            self._one_by_one(equals, lambda claim: min(claim.have, goal(claim)))
            self._one_by_one(equals, goal)

    def _all_get(self, equals: Sequence[Claim], goal: Callable[[Claim], int]) -> bool:
        granted, each = self.granted, self._each
        more = {claim.model: wanted for claim in equals if (wanted := goal(claim) - granted[claim.model]) > 0}
        left = [free - sum([n * each[model][i] for model, n in more.items()]) for i, free in enumerate(self._free)]
        if min(left) < -TOLERANCE:
            return False
        for model, n in more.items():
            granted[model] += n
        self._free = left
        return True

    def _one_by_one(self, equals: Sequence[Claim], goal: Callable[[Claim], int]) -> None:
        """To whom is pressed most, unless all fits."""
        if self._all_get(equals, goal):
            return
        queue = [self._rank(claim, goal(claim)) for claim in equals if goal(claim) > self.granted[claim.model]]
        heapq.heapify(queue)
        while queue:
            _, _, model, wanted, claim = heapq.heappop(queue)
            if self._lacking(model) is not None:
                continue
            self.granted[model] += 1
            self._free = [free - taken for free, taken in zip(self._free, self._each[model], strict=True)]
            if self.granted[model] < wanted:
                heapq.heappush(queue, self._rank(claim, wanted))

    def _rank(self, claim: Claim, wanted: int) -> tuple[float, int, str, int, Claim]:
        """Models have different names, so that claims are never compared."""
        granted = self.granted[claim.model]
        pressure = claim.load / granted if granted else math.inf
        return -pressure, granted - claim.desired, claim.model, wanted, claim

    def _lacking(self, model: str) -> int | None:
        """The resource that one more replica finds too little of."""
        for i, taken in enumerate(self._each[model]):
            if taken and taken > self._free[i] + TOLERANCE:
                return i
        return None

    def reason(self, claim: Claim) -> str:
        lacking = self._lacking(claim.model)
        granted = self.granted[claim.model]
        if granted >= claim.desired or lacking is None:
            return ""
        what = f"{self.scarce[lacking]}s"
        holders = self._holders_of(lacking)
        others = [told for model, told in islice(holders.items(), NAMED + 1) if model != claim.model]
        if not others:
            takes, most = self._each[claim.model][lacking], self._capacity[self.scarce[lacking]]
            return f"{granted} of {claim.desired}: models may use {most:g} {what}, and one replica takes {takes:g}"
        more = len(holders) - (claim.model in holders) - NAMED
        names = [*others[:NAMED], f"{more} more"] if more > 0 else others
        together = f"{', '.join(names[:-1])} and {names[-1]} have" if len(names) > 1 else f"{names[0]} has"
        return f"{granted} of {claim.desired}: {together} the other {what}"

    def _holders_of(self, resource: int) -> dict[str, str]:
        """Who has some of it, the highest priority first, then the most of it: model, and what to call it."""
        if resource not in self._holders:
            held = {model: each[resource] * self.granted[model] for model, each in self._each.items()}
            holders = sorted(
                (claim for claim in self._claims if held[claim.model] > 0),
                key=lambda claim: (-claim.priority, -held[claim.model], claim.model),
            )
            self._holders[resource] = {x.model: f"'{x.model}' (priority {x.priority})" for x in holders}
        return self._holders[resource]
