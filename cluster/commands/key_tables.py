"""Keys and tenants as people read them."""

from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from deployments.key_changes import LIMITS


def condition(key: dict[str, Any], now_s: float) -> str:
    if key["revoked_at_s"] is not None:
        return "revoked"
    return "expired" if key["expires_at_s"] is not None and key["expires_at_s"] <= now_s else "good"


def keys_table(shown: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("id", "tenant", "made", "until", "is", "replaces"):
        table.add_column(title, no_wrap=title in ("id", "replaces"))
    for key in shown:
        until = "" if key["expires_at_s"] is None else shown_time(key["expires_at_s"])
        made = shown_time(key["created_at_s"])
        table.add_row(key["id"], key["tenant"], made, until, key["is"], key["replaces"] or "")
    return table


def tenants_table(tenants: list[dict[str, Any]]) -> Table:
    counted = ("requests/min", "tokens/min", "at once", "tokens/day")
    titles = ("tenant", *counted, "priority", "privacy", "show text", "models")
    table = Table(*titles, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for tenant in tenants:
        models = "all" if tenant["models"] is None else escape(", ".join(tenant["models"]))
        counts = ("no limit" if count is None else f"{count:,}" for count in map(tenant.get, LIMITS))
        settings = (str(tenant["priority"]), tenant["privacy"], tenant["show_text"])
        table.add_row(tenant["name"], *counts, *settings, models)
    return table


def shown_time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).strftime("%Y-%m-%d %H:%M")
