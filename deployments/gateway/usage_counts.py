"""What is kept of usage: sums by day, tenant and model. No request, no text."""

import time
from datetime import date, timedelta
from operator import add
from typing import NamedTuple

DAY_S = 86_400
EPOCH = date(1970, 1, 1)


class Counts(NamedTuple):
    """`requests` were sent to an engine, `completed` ended with an answer that is whole.

    Prompt, cached (part of the prompt) and output tokens were delivered; those in `surplus_…` an engine computed for
    nobody, because the client left or the answer broke off.
    """

    requests: int = 0
    completed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    surplus_prompt_tokens: int = 0
    surplus_output_tokens: int = 0

    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]
        return Counts._make(map(add, self, other))


COUNTED = Counts._fields

Place = tuple[int, str, str]
"""Day (since 1970-01-01, UTC), tenant, model."""

Row = tuple[Place, Counts]


def utc_day(at_s: float | None = None) -> int:
    return int(time.time() if at_s is None else at_s) // DAY_S


def day_text(day: int) -> str:
    return (EPOCH + timedelta(days=day)).isoformat()


def day_number(text: str) -> int:
    """Raises:
    ValueError: not a date like 2026-11-25.
    """
    return (date.fromisoformat(text) - EPOCH).days
