"""`baryon audit`: who changed keys, limits and the configuration, and when."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from cluster.commands.desk import Config, Json, desk_of
from cluster.commands.key_tables import shown_time
from cluster.commands.output import console, print_json


def audit(
    limit: Annotated[int, typer.Option(min=1, help="So many of the last changes.")] = 50,
    config: Config = None,
    json: Json = False,
) -> None:
    """The last changes to keys, limits and the configuration, newest first.

    Example: baryon audit --json
    """
    with desk_of(config) as desk:
        rows = desk.audit(limit)
    if json:
        print_json(rows)
        return
    for row in rows:
        line = f"{shown_time(row['at_s'])}  {row['actor']}  [bold]{row['action']}[/bold] {escape(row['subject'])}"
        console.print(line + "".join(f"\n    {escape(words)}" for words in _details(row["details"])), soft_wrap=True)


def _details(details: dict[str, Any]) -> list[str]:
    """A line for each that says anything."""
    return [
        f"{name}: {value['was']} → {value['now']}" if isinstance(value, dict) else f"{name}: {value}"
        for name, value in details.items()
        if value is not None
    ]
