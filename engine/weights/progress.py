"""How far a model has come on its way to the disk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """`total_bytes` is None while it is not known; `note` is for people."""

    stage: Literal["download", "convert", "verify"]
    note: str
    done_bytes: int = 0
    total_bytes: int | None = None


OnProgress = Callable[[Progress], None]
