"""What every trace format yields, and raises."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

MOST_TOKENS = 10**9


class TraceError(ValueError):
    """The file is no trace, or a line of it cannot be read; the message has file, line and what was expected."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request. `blocks` identify the prompt's full blocks of the trace's `block_tokens`, from its start."""

    arrived_ms: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    tenant: str = "anyone"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line that is not blank, with its number from 1.

    Raises:
        TraceError: there is no such file, or it may not be read.
    """
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8", errors="replace", newline="")
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
