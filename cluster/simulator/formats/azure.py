"""Azure's LLM inference traces: CSV with a time stamp, prompt tokens and generated tokens. Prompts share nothing."""

import csv
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from cluster.simulator.trace_request import MOST_TOKENS, TraceError, TraceRequest, numbered_lines

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
UP_TO_MICROSECONDS = len("2023-11-16 18:15:46.680590")


def requests(path: Path, _seed: int) -> Iterator[TraceRequest]:
    """The first one arrives at 0.

    Raises:
        TraceError: a line has other columns, or is before the one above it.
    """
    begun: datetime | None = None
    last_ms = 0.0
    for number, line in islice(numbered_lines(path), 1, None):
        try:
            stamp, context, generated = next(csv.reader([line]))
            at = datetime.fromisoformat(stamp[:UP_TO_MICROSECONDS])
            begun = begun or at
            arrived_ms = (at - begun).total_seconds() * 1000
            tokens, output = int(context), int(generated)
        except (ValueError, TypeError, csv.Error) as error:
            raise TraceError(f"{path}:{number}: expected {', '.join(COLUMNS)}: {error}") from None
        if arrived_ms < last_ms:
            raise TraceError(f"{path}:{number}: TIMESTAMP {stamp} is before the line above: sort it")
        if not 1 <= tokens <= MOST_TOKENS or not 0 <= output <= MOST_TOKENS:
            raise TraceError(
                f"{path}:{number}: ContextTokens must be from 1, GeneratedTokens from 0, to {MOST_TOKENS:g}"
            )
        last_ms = arrived_ms
        yield TraceRequest(arrived_ms, tokens, max(1, output))
