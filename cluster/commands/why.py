"""`baryon status --why`: the autoscaler's last decisions on each model, with what it saw."""

from datetime import datetime
from typing import Any

from rich.table import Table

from cluster.commands.output import console
from cluster.live_state import LiveState

CHANGES_SHOWN = 20


def decisions_of(state: LiveState, snapshot: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By model, newest first: the last decision of all, then those that changed the count."""
    decisions = {}
    for card in snapshot["models"]:
        last = state.decisions(card["name"], 1, changes_only=False)
        changes = state.decisions(card["name"], CHANGES_SHOWN, changes_only=True)
        decisions[card["name"]] = last + [change for change in changes if change not in last]
    return decisions


def print_why(models: list[dict[str, Any]], decisions: dict[str, list[dict[str, Any]]]) -> None:
    """Loads are in replicas kept busy."""
    for card in models:
        made = decisions.get(card["name"], [])
        counts = card["replicas"]
        console.print(f"[bold]{card['name']}[/bold]  replicas {counts['min']} to {counts['max']}")
        console.print(_table(made) if made else "  no decision yet: no gateway has told of any demand")


def _table(decisions: list[dict[str, Any]]) -> Table:
    titles = ("when", "replicas", "load", "ahead", "one bears", "reason")
    table = Table(*titles, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for made in decisions:
        changed = made["was"] != made["granted"]
        table.add_row(
            datetime.fromtimestamp(made["at_s"]).strftime("%d %b %H:%M:%S"),
            f"{made['was']} → {made['granted']}" if changed else str(made["granted"]),
            f"{made['load']:.2f}",
            f"{made['forecast_load']:.2f}",
            f"{made['bearable_load']:.2f} ({made['bound']})" if made["bound"] else "",
            made["reason"],
        )
    return table
