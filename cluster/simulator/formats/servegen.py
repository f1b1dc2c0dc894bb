"""ServeGen's rate tables: CSV with seconds and requests per second from then on; lengths are in the file beside it."""

import csv
import json
import random
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from cluster.simulator.trace_request import MOST_TOKENS, TraceError, TraceRequest, numbered_lines

COLUMNS = ("t_s", "rate_req_s")
RATE_SUFFIX = "_rate.csv"
LENGTHS_SUFFIX = "_lengths.jsonl"
MOST_REQ_S = 1e6
MOST_S = 1e12
Quantiles = list[tuple[float, float]]


def requests(path: Path, seed: int) -> Iterator[TraceRequest]:
    """Poisson arrivals at the table's rate; each request has the lengths of a client drawn from the other file.

    The last line only says when the one before it ends.

    Raises:
        TraceError: a line of either file cannot be read.
    """
    source = random.Random(f"servegen {seed}")  # noqa: S311
    lengths = _lengths(Path(str(path).removesuffix(RATE_SUFFIX) + LENGTHS_SUFFIX))
    for (begin_s, rate), (end_s, _) in pairwise(_rates(path)):
        since_s = 0.0
        while rate > 0 and (since_s := since_s + source.expovariate(rate)) < end_s - begin_s:
            tokens, output = source.choice(lengths)
            yield TraceRequest((begin_s + since_s) * 1000, _draw(tokens, source), _draw(output, source))


def _rates(path: Path) -> Iterator[tuple[float, float]]:
    last_s = 0.0
    for number, line in islice(numbered_lines(path), 1, None):
        try:
            at_s, rate = map(float, next(csv.reader([line])))
        except (ValueError, csv.Error):
            raise TraceError(f"{path}:{number}: expected {', '.join(COLUMNS)}, found {line.strip()[:60]!r}") from None
        if not last_s <= at_s <= MOST_S or not 0 <= rate <= MOST_REQ_S:
            raise TraceError(f"{path}:{number}: times must not go back, and rates be from 0 to {MOST_REQ_S:g}")
        last_s = at_s
        yield at_s, rate


def _lengths(path: Path) -> list[tuple[Quantiles, Quantiles]]:
    found: list[tuple[Quantiles, Quantiles]] = []
    levels: Any = []
    for number, line in numbered_lines(path):
        try:
            row = json.loads(line)
            if "quantiles" in row:
                levels = row["quantiles"]
            else:
                prompt, output = row["input_tokens"]["q"], row["output_tokens"]["q"]
                found.append((_quantiles(levels, prompt), _quantiles(levels, output)))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise TraceError(
                f'{path}:{number}: expected {{"quantiles": [level, …]}}, then lines of '
                '{"input_tokens": {"q": [tokens, …]}, "output_tokens": {"q": [tokens, …]}} with as many'
            ) from None
    if not found:
        raise TraceError(f"{path}: no lengths in it: expected a line of quantiles for each client")
    return found


def _quantiles(levels: Any, tokens: Any) -> Quantiles:
    """Raises:
    ValueError, TypeError: they are no ascending quantiles.
    """
    quantiles = [(float(level), float(count)) for level, count in zip(levels, tokens, strict=True)]
    if not quantiles or not all(0 <= level <= 1 and 0 <= count <= MOST_TOKENS for level, count in quantiles):
        raise ValueError("levels must be from 0 to 1, tokens positive")
    if any(above < below for below, above in pairwise(quantiles)):
        raise ValueError("quantiles must ascend")
    return quantiles


def _draw(quantiles: Quantiles, source: random.Random) -> int:
    """By the inverse of the distribution function, linear between the quantiles known."""
    level = source.random()
    below = quantiles[0]
    for above in quantiles:
        if level <= above[0]:
            share = (level - below[0]) / (above[0] - below[0]) if above[0] > below[0] else 0.0
            return max(1, round(below[1] + share * (above[1] - below[1])))
        below = above
    return max(1, round(below[1]))
