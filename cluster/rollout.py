"""How new versions of models replace old ones, and what is put back if one does not start. Pure.

With spare resources new replicas start beside the old ones, which stay until a new one is ready. Without, one old
replica after the other stops, and a new one takes its place.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from cluster.config import RESERVED_APPLICATIONS
from cluster.placement import Node, Refusal, Shape, place

REPLACED_AT_ONCE = 0.2
WHAT_MAKES_A_PROCESS = ("ray_actor_options", "placement_group_bundles", "placement_group_strategy")

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """To one application: `replaced` running replicas need a new process, and `added` ones come beside them."""

    application: str
    old: Shape
    new: Shape
    replaced: int
    added: int

    @property
    def takes_the_place(self) -> bool:
        """Whether a new replica fits where an old one was."""
        pairs = zip_longest(self.new.bundles, self.old.bundles, fillvalue=(0.0, 0.0))
        return all(new[0] <= old[0] and new[1] <= old[1] for new, old in pairs)


@dataclass(frozen=True, slots=True)
class Rollout:
    """`surge` new replicas start before old ones stop. With none, `share` of the old ones stop first."""

    surge: int
    share: float = REPLACED_AT_ONCE

    def options(self, replicas: int) -> dict[str, Any]:
        """For Serve, which takes the next whole number of `max_surge_percent`, and at least one replica of `share`."""
        percent = max(1, 100 * self.surge // replicas) if self.surge else 0
        return {"max_surge_percent": percent, "rolling_update_percentage": self.share}

    def words(self, replicas: int) -> str:
        if self.surge:
            return f"{replicas} replicas, {self.surge} at a time; the old stay until the new are ready"
        if replicas > 1 and self.share < 1:
            return f"{replicas} replicas, one after the other in the same place: there is no room beside them"
        return "there is no room beside the old: it stops first, and nothing serves this model until the new is ready"


def changes(schema: Document, running: Mapping[str, Document]) -> list[Change]:
    """What `schema` does to the models of a cluster, given Serve's own account of it by application.

    An application whose arguments or resources differ gets new processes.
    """
    found = []
    for new in schema["applications"]:
        if new["name"] in RESERVED_APPLICATIONS:
            continue
        details = running.get(new["name"], {})
        old = details.get("deployed_app_config") or new
        replicas = [r for d in details.get("deployments", {}).values() for r in d["replicas"]]
        count = sum(replica["state"] == "RUNNING" for replica in replicas)
        needs_processes = old["args"] != new["args"] or _resources(old) != _resources(new)
        added = new["deployments"][0]["autoscaling_config"]["min_replicas"] - count
        found.append(Change(new["name"], _shape(old), _shape(new), count if needs_processes else 0, max(0, added)))
    return found


def rollouts(found: Sequence[Change], free: Sequence[Node]) -> dict[str, Rollout]:
    """By application whose replicas are replaced: a fifth of them at a time, at least one, or as many as fit.

    Added replicas get their resources first: who waits for some that they took would wait for ever. So would a larger
    replica for the place of a smaller one, unless all of those have stopped.
    """
    left = _beside([change.new for change in found for _ in range(change.added)], free) or ()
    chosen: dict[str, Rollout] = {}
    for change in (change for change in found if change.replaced):
        surge = math.ceil(change.replaced * REPLACED_AT_ONCE)
        needed = range(surge, 0, -1) if change.takes_the_place else (change.replaced,)
        rests = ((count, _beside([change.new] * count, left)) for count in needed)
        count, rest = next(((count, rest) for count, rest in rests if rest is not None), (0, left))
        chosen[change.application] = (
            Rollout(min(count, surge)) if count else Rollout(0, REPLACED_AT_ONCE if change.takes_the_place else 1.0)
        )
        left = rest
    return chosen


def put_back(schema: Document, before: Mapping[str, Document], failed: Collection[str]) -> dict[str, Any]:
    """`schema` with the `failed` applications, and their models in the catalogue, as they were `before`, by name."""
    old_cards = {card["application"]: card for card in _catalogue(before["state"])}

    def put(application: Document) -> Document:
        if application["name"] in failed:
            return before[application["name"]]
        if application["name"] != "state":
            return application
        deployment = application["deployments"][0]
        models = [old_cards[c["application"]] if c["application"] in failed else c for c in _catalogue(application)]
        deployment = {**deployment, "user_config": {**deployment["user_config"], "models": models}}
        return {**application, "deployments": [deployment]}

    return {**schema, "applications": [put(application) for application in schema["applications"]]}


def _resources(application: Document) -> list[Any]:
    return [application["deployments"][0].get(key) for key in WHAT_MAKES_A_PROCESS]


def _shape(application: Document) -> Shape:
    deployment = application["deployments"][0]
    actor = deployment["ray_actor_options"]
    bundles = deployment.get("placement_group_bundles") or [
        {"GPU": actor.get("num_gpus", 0.0), "CPU": actor["num_cpus"]}
    ]
    return Shape(application["name"], tuple((bundle.get("GPU", 0.0), bundle["CPU"]) for bundle in bundles))


def _catalogue(state: Document) -> list[dict[str, Any]]:
    cards: list[dict[str, Any]] = state["deployments"][0]["user_config"]["models"]
    return cards


def _beside(shapes: Sequence[Shape], free: Sequence[Node]) -> tuple[Node, ...] | None:
    """What is left when they are placed, or None if they do not fit."""
    placed = place(shapes, free)
    if isinstance(placed, Refusal):
        return None
    left = {node.name: node for node in free}
    for shape, one in zip(shapes, placed, strict=True):
        for (gpus, cpus), name in zip(shape.bundles, one.nodes, strict=True):
            left[name] = replace(left[name], gpus=left[name].gpus - gpus, cpus=left[name].cpus - cpus)
    return tuple(left.values())
