"""`baryon usage`: who used how much of which model on which day."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.commands.output import BAD_INPUT, FAILED, console, fail, print_json
from cluster.live_state import LiveState
from cluster.run_folder import default_run_folder
from cluster.running_cluster import running_cluster
from deployments.gateway.usage_counts import COUNTED
from deployments.usage_ledger import COLUMNS, LEDGER, LedgerError, UsageQuery, read_sums

SHOWN = {
    "requests": "requests",
    "completed": "whole",
    "prompt_tokens": "prompt",
    "cached_tokens": "cached",
    "output_tokens": "output",
    "surplus_tokens": "surplus",
}


def usage(
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    model: Annotated[str | None, typer.Option(help="Of this model only.")] = None,
    from_day: Annotated[str | None, typer.Option("--from", help="The first day (UTC), like 2026-11-01.")] = None,
    to_day: Annotated[str | None, typer.Option("--to", help="The last day.")] = None,
    by: Annotated[str, typer.Option(help="Sums by day, model, tenant, or several with commas between.")] = "",
    json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets.")] = False,
    state: Annotated[Path | None, typer.Option(help="The state file of a cluster that does not run.")] = None,
) -> None:
    """Tokens and requests by tenant, model and day, at most a second old. Surplus: computed, but not delivered.

    Example: baryon usage --by tenant --from 2026-11-01 --to 2026-11-30 --csv
    """
    if json and as_csv:
        fail("--json and --csv exclude each other", BAD_INPUT)
    try:
        query = UsageQuery(tenant, model, from_day, to_day, tuple(by.split(",")) if by else COLUMNS)  # type: ignore[arg-type]
    except ValueError as error:
        fail(str(error), BAD_INPUT)
    try:
        rows = read_usage(query, state)
    except LedgerError as error:
        fail(str(error), FAILED)
    if json:
        print_json(rows)
    elif as_csv:
        _print_csv(rows, query)
    else:
        console.print(_table(rows, query) if rows else "nothing was used")


def read_usage(query: UsageQuery, state_path: Path | None) -> list[dict[str, Any]]:
    """Of the running cluster, else of the one whose state is in the run folder or at `state_path`.

    Raises:
        LedgerError: there is none, or the running cluster's state does not answer.
    """
    folder = default_run_folder()
    record = running_cluster(folder)
    if state_path is not None or record is None:
        return read_sums((state_path or folder.state_path).with_name(LEDGER), query)
    with LiveState(record.gcs_address) as live:
        rows = live.usage(query)
    if rows is None:
        raise LedgerError("the cluster's state does not answer; try again in some seconds")
    return rows


def _named(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "surplus_tokens": row["surplus_prompt_tokens"] + row["surplus_output_tokens"]} for row in rows]


def _print_csv(rows: Sequence[dict[str, Any]], query: UsageQuery) -> None:
    """RFC 4180: an empty result is a line of names."""
    writer = csv.DictWriter(sys.stdout, [*(name for name in COLUMNS if name in query.by), *COUNTED])
    writer.writeheader()
    writer.writerows(rows)


def _table(rows: Sequence[dict[str, Any]], query: UsageQuery) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    by = [name for name in COLUMNS if name in query.by]
    for name in by:
        table.add_column(name, no_wrap=name == "day", overflow="fold")
    for title in SHOWN.values():
        table.add_column(title, justify="right", no_wrap=True)
    for row in _named(rows):
        table.add_row(*(str(row[name]) for name in by), *(f"{row[name]:,}" for name in SHOWN))
    return table
