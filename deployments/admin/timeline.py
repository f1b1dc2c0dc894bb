"""The autoscaler's decisions on one model, as a line to draw and a list to read."""

from collections.abc import Mapping, Sequence
from typing import Any

POINTS = 240
CHANGES = 50
NUMBERS = ("desired", "running", "starting", "leaving", "load", "forecast_load", "bearable_load", "cold_start_s")


def timeline(latest: Sequence[Mapping[str, Any]], changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Both newest first, as state keeps them: all of the last hour, and the ones that changed a count.

    `points` are oldest first and at most `POINTS`; a point where a number of replicas changes is never left out.
    """
    oldest_first = [_point(made) for made in reversed(latest)]
    return {
        "points": _thinned(oldest_first),
        "changes": [_told(made) for made in changes[:CHANGES]],
        "last": _told(latest[0]) if latest else None,
    }


def _point(made: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at_s": round(made["at_s"], 1),
        "target": made["granted"],
        "desired": made["desired"],
        "running": made["running"],
        "load": round(made["load"], 3),
    }


def _told(made: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: round(made[name], 3) if isinstance(made[name], float) else made[name] for name in NUMBERS}
    kept = {name: made[name] for name in ("was", "granted", "reason", "bound")}
    return {"at_s": round(made["at_s"], 1), **kept, **numbers}


def _thinned(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every change with what was before it, and of the rest every so many."""

    def counts(at: int) -> tuple[int, ...]:
        return tuple(points[at][name] for name in ("target", "desired", "running"))

    last = len(points) - 1
    corners = {0, last} if points else set()
    for at in range(1, len(points)):
        if counts(at) != counts(at - 1):
            corners |= {at - 1, at}
    every = -(-len(points) // max(1, POINTS - len(corners))) or 1
    kept = sorted(corners | set(range(last, -1, -every)))
    return [points[at] for at in kept[-POINTS:]]
