"""Who used how much of which model on which day, in one SQLite file. Sums only: no request, no text.

Gateways tell it in numbered batches. A batch and its number are written in one transaction, so one that is told twice
counts once. What was acknowledged survives a kill of this process; a power cut may cost what SQLite had not synced yet
(`synchronous=NORMAL` with a WAL: the last commits, never the file's integrity).
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from deployments.gateway.usage_counts import COUNTED, Counts, Row, day_number, day_text
from deployments.sqlite_file import FileKind, set_aside, transaction

logger = logging.getLogger(__name__)

LEDGER = "usage_ledger.sqlite"
SOURCES_KEPT_S = 30 * 86_400.0

By = Literal["day", "model", "tenant"]
COLUMNS: tuple[By, ...] = get_args(By)

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS usage (
    day INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    {" ".join(f"{name} INTEGER NOT NULL," for name in COUNTED)}
    PRIMARY KEY (day, tenant, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS source (gateway TEXT PRIMARY KEY, batch INTEGER NOT NULL, told_at_s REAL NOT NULL);
"""
_ADD = (
    f"INSERT INTO usage VALUES (?, ?, ?, {', '.join('?' * len(COUNTED))}) ON CONFLICT DO UPDATE SET "  # noqa: S608
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTED)
)
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in COUNTED)


class LedgerError(Exception):
    """The file is no usage ledger, or cannot be read or written; the message has the file and why."""


KIND = FileKind("usage ledger", 0x6272796C, 1, _SCHEMA, LedgerError)


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Sums by `by`, of one tenant or model if named, from one day to another (2026-11-25, UTC, both included)."""

    tenant: str | None = None
    model: str | None = None
    from_day: str | None = None
    to_day: str | None = None
    by: Sequence[By] = COLUMNS

    def __post_init__(self) -> None:
        """Raises:
        ValueError: not a date, or nothing to sum by.
        """
        for day in (self.from_day, self.to_day):
            if day is not None:
                day_number(day)
        if unknown := set(self.by) - set(COLUMNS):
            raise ValueError(f"not one of {', '.join(COLUMNS)}: {', '.join(sorted(unknown))}")


class UsageLedger:
    """The one writer. Called from one thread.

    Raises:
        LedgerError: the file is something else, is corrupt, or cannot be written.
    """

    def __init__(self, path: Path, now_s: Callable[[], float] = time.time) -> None:
        self._path, self._now_s = path, now_s
        self._connection = KIND.create(path)

    def close(self) -> None:
        self._connection.close()

    def add(self, gateway: str, batch: int, rows: Sequence[Row]) -> bool:
        """Count what a gateway tells, unless it has told this batch, or a later one, before; whether it is counted.

        Raises:
            LedgerError: it cannot be written; then nothing of it is.
        """
        with KIND.named_errors(self._path), transaction(self._connection):
            known = self._connection.execute("SELECT batch FROM source WHERE gateway = ?", (gateway,)).fetchone()
            if known is not None and known[0] >= batch:
                return False
            self._connection.executemany(_ADD, [(*place, *counts) for place, counts in rows])
            self._connection.execute("INSERT OR REPLACE INTO source VALUES (?, ?, ?)", (gateway, batch, self._now_s()))
            self._connection.execute("DELETE FROM source WHERE told_at_s < ?", (self._now_s() - SOURCES_KEPT_S,))
        return True

    def sums(self, query: UsageQuery) -> list[dict[str, Any]]:
        return _sums(self._connection, query)


def opened(path: Path) -> UsageLedger:
    """The ledger at `path`. One that cannot be read is set aside to be looked at: models are served all the same.

    Raises:
        LedgerError: it cannot be written.
    """
    try:
        return UsageLedger(path)
    except LedgerError as error:
        with KIND.named_errors(path):
            aside = set_aside(path, f".damaged-{int(time.time())}")
        logger.error("%s; it is set aside as %s, and usage is counted from nothing", error, aside.name)
        return UsageLedger(path)


def read_sums(path: Path, query: UsageQuery) -> list[dict[str, Any]]:
    """Of a ledger that nobody, or another process, has open.

    Raises:
        LedgerError: there is no such file, or it is no usage ledger.
    """
    with KIND.reading(path) as connection:
        return _sums(connection, query)


def _sums(connection: sqlite3.Connection, query: UsageQuery) -> list[dict[str, Any]]:
    """One row for each value of `by`, in order; days as text."""
    by = [name for name in COLUMNS if name in query.by]
    wheres = {
        "tenant = ?": query.tenant,
        "model = ?": query.model,
        "day >= ?": query.from_day and day_number(query.from_day),
        "day <= ?": query.to_day and day_number(query.to_day),
    }
    asked = {text: value for text, value in wheres.items() if value is not None}
    where = " AND ".join(asked) or "1"
    grouped = f"GROUP BY {', '.join(by)} ORDER BY {', '.join(by)}" if by else ""
    cursor = connection.execute(
        f"SELECT {', '.join([*by, _SUMS])} FROM usage WHERE {where} {grouped}",  # noqa: S608
        tuple(asked.values()),
    )
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor if row[-1] is not None]
    return [{**row, "day": day_text(row["day"])} if "day" in row else row for row in rows]


def total(rows: Sequence[dict[str, Any]]) -> Counts:
    return sum((Counts(**{name: row[name] for name in COUNTED}) for row in rows), Counts())
