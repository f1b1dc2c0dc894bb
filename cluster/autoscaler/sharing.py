"""Who gets the GPUs where models together want more than there are: by priority, decided here alone. Pure.

Every model's least comes first. Then higher priorities get what they want; of equals, what runs stays, and the next
replica goes to whom load presses most. A replica is so taken away only for a higher priority, or for another's least.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

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
    if not sharing.all_have(claims, lambda claim: claim.desired):
        ordered = sorted(claims, key=lambda claim: (-claim.priority, claim.model))
        levels = [list(level) for _, level in groupby(ordered, key=lambda claim: claim.priority)]
        for level in levels:
            sharing.fill(level, lambda claim: min(claim.have, claim.floor))
            sharing.fill(level, lambda claim: claim.floor)
        for level in levels:
            sharing.fill(level, lambda claim: min(claim.have, claim.desired))
            sharing.fill(level, lambda claim: claim.desired)
    return {claim.model: Grant(sharing.granted[claim.model], sharing.reason(claim)) for claim in claims}


class _Sharing:
    def __init__(self, claims: Sequence[Claim], capacity: Mapping[str, float]) -> None:
        self.granted = {claim.model: 0 for claim in claims}
        self._claims = claims
        self._resources = list(capacity)
        self._free = list(capacity.values())
        self._each = {claim.model: [claim.replica.get(name, 0.0) for name in capacity] for claim in claims}

    def all_have(self, claims: Sequence[Claim], goal: Callable[[Claim], int]) -> bool:
        """Grants every one of them its goal if they all fit, else nothing."""
        left, goals = self._free.copy(), {}
        for claim in claims:
            had = self.granted[claim.model]
            goals[claim.model] = max(had, goal(claim))
            for i, taken in enumerate(self._each[claim.model]):
                left[i] -= taken * (goals[claim.model] - had)
        if any(free < -TOLERANCE for free in left):
            return False
        self._free = left
        self.granted.update(goals)
        return True

    def fill(self, equals: Sequence[Claim], goal: Callable[[Claim], int]) -> None:
        """One by one to whom is pressed most, as far as there is room."""
        if self.all_have(equals, goal):
            return
        queue = [self._rank(claim, goal(claim)) for claim in equals if self.granted[claim.model] < goal(claim)]
        heapq.heapify(queue)
        while queue:
            _, _, model, goal_of, claim = heapq.heappop(queue)
            if not self._take(model):
                continue
            self.granted[model] += 1
            if self.granted[model] < goal_of:
                heapq.heappush(queue, self._rank(claim, goal_of))

    def _rank(self, claim: Claim, goal: int) -> tuple[float, int, str, int, Claim]:
        """Models have different names, so that claims are never compared."""
        granted = self.granted[claim.model]
        pressure = claim.load / granted if granted else math.inf
        return -pressure, granted - claim.desired, claim.model, goal, claim

    def _take(self, model: str) -> bool:
        each = self._each[model]
        if any(taken > free + TOLERANCE for taken, free in zip(each, self._free, strict=True) if taken):
            return False
        for i, taken in enumerate(each):
            self._free[i] -= taken
        return True

    def reason(self, claim: Claim) -> str:
        granted = self.granted[claim.model]
        if granted >= claim.desired:
            return ""
        each = self._each[claim.model]
        scarce = next(i for i, taken in enumerate(each) if taken > self._free[i] + TOLERANCE)
        what, short = f"{self._resources[scarce]}s", f"{granted} of {claim.desired}: "
        held = [
            (self._each[other.model][scarce] * self.granted[other.model], other)
            for other in self._claims
            if other is not claim and self._each[other.model][scarce] * self.granted[other.model] > 0
        ]
        if not held:
            all_there_is = self._free[scarce] + each[scarce] * granted
            return f"{short}models may use {all_there_is:g} {what}, and one replica takes {each[scarce]:g}"
        held.sort(key=lambda one: (-one[1].priority, -one[0], one[1].model))
        names = [f"'{other.model}' (priority {other.priority})" for _, other in held[:NAMED]]
        if len(held) > NAMED:
            names.append(f"{len(held) - NAMED} more")
        together = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        return f"{short}{together} {'have' if len(held) > 1 else 'has'} the other {what}"
