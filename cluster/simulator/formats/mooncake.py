"""Mooncake's traces: JSON lines with "timestamp" (ms), "input_length", "output_length" and "hash_ids"."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.simulator.trace_request import MOST_TOKENS, TraceError, TraceRequest, numbered_lines

MOST_MS = 1e15


def requests(path: Path, _seed: int) -> Iterator[TraceRequest]:
    """Raises:
    TraceError: a line is no such object, or before the one above it.
    """
    last_ms = 0.0
    for number, line in numbered_lines(path):
        request = _request(f"{path}:{number}", line)
        if request.arrived_ms < last_ms:
            raise TraceError(f"{path}:{number}: 'timestamp' {request.arrived_ms:g} is before {last_ms:g}: sort it")
        last_ms = request.arrived_ms
        yield request


def _request(where: str, line: str) -> TraceRequest:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise TraceError(f"{where}: expected an object, found {line.strip()[:40]!r}")
    hash_ids = row.get("hash_ids", [])
    if not isinstance(hash_ids, list) or not all(isinstance(item, int) for item in hash_ids):
        raise TraceError(f"{where}: 'hash_ids' must be a list of integers")
    return TraceRequest(
        _number(where, row, "timestamp", 0, MOST_MS),
        int(_number(where, row, "input_length", 1, MOST_TOKENS)),
        max(1, int(_number(where, row, "output_length", 0, MOST_TOKENS))),
        tuple(hash_ids),
    )


def _number(where: str, row: dict[str, Any], name: str, least: float, most: float) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise TraceError(f"{where}: {name!r} must be a number from {least:g} to {most:g}, not {str(value)[:40]!r}")
    return float(value)
