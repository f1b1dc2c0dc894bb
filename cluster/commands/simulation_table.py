"""Runs with their progress, and a table of what they came to."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from cluster.simulator.parallel import rows_of
from cluster.simulator.summary import interval

Run = TypeVar("Run")
Row = TypeVar("Row")
Columns = Sequence[tuple[str, str, str, float]]


def simulated(work: Callable[[Run], Row], runs: Sequence[Run]) -> list[Row]:
    """Raises:
    BrokenProcessPool: a process was killed.
    """
    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("simulating", total=len(runs))
        return rows_of(work, runs, lambda: progress.advance(task))


def table_of(rows: Sequence[Any], policies: Collection[str], columns: Columns, promise: str) -> Table:
    """A line for each policy: mean of its seeds, and half the 95 % interval. A column: title, field, format, factor."""
    seeds = len({row.seed for row in rows})
    spread = f"mean ± half the 95 % interval of {seeds} seeds" if seeds > 1 else "one seed"
    requests = max(row.requests for row in rows)
    table = Table(
        Column("policy", no_wrap=True, min_width=max(map(len, policies))),
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        caption=f"{requests:,} requests; {spread}; {promise}",
    )
    for title, *_ in columns:
        table.add_column(title, justify="right")
    for policy in policies:
        mine = [row for row in rows if row.policy == policy]
        cells = ((text, interval([factor * getattr(row, field) for row in mine])) for _, field, text, factor in columns)
        table.add_row(policy, *(text.format(mean, half) for text, (mean, half) in cells))
    return table
