"""Many runs at once, one process per CPU."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Run = TypeVar("Run")
Row = TypeVar("Row")


def rows_of(work: Callable[[Run], Row], runs: Sequence[Run], on_row: Callable[[], object] = lambda: None) -> list[Row]:
    """What `work` makes of each, in order; `on_row` is called as each is there.

    Raises:
        BrokenProcessPool: a process was killed.
    """
    rows = []
    processes = min(len(runs), len(os.sched_getaffinity(0)))
    if processes < 2:
        for run in runs:
            rows.append(work(run))
            on_row()
        return rows
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for row in pool.map(work, runs):
            rows.append(row)
            on_row()
    return rows
