"""Who used how much of which model on which day, in one SQLite file. Sums only: no request, no text.

Gateways tell it in numbered batches. A batch and its number are written in one transaction, so one that is told twice
counts once. What was acknowledged survives a kill of this process; a power cut may cost what SQLite had not synced yet
(`synchronous=NORMAL` with a WAL: the last commits, never the file's integrity).
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from deployments.gateway.usage_counts import COUNTED, Counts, Row, day_number, day_text

logger = logging.getLogger(__name__)

LEDGER = "usage_ledger.sqlite"
APPLICATION_ID = 0x6272796C
VERSION = 1
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
        with _named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            _check(self._connection, path, may_be_new=True)
            path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        self._connection.close()

    def add(self, gateway: str, batch: int, rows: Sequence[Row]) -> bool:
        """Count what a gateway tells, unless it has told this batch, or a later one, before; whether it is counted.

        Raises:
            LedgerError: it cannot be written; then nothing of it is.
        """
        with _named_errors(self._path), self._transaction():
            known = self._connection.execute("SELECT batch FROM source WHERE gateway = ?", (gateway,)).fetchone()
            if known is not None and known[0] >= batch:
                return False
            self._connection.executemany(_ADD, [(*place, *counts) for place, counts in rows])
            self._connection.execute("INSERT OR REPLACE INTO source VALUES (?, ?, ?)", (gateway, batch, self._now_s()))
            self._connection.execute("DELETE FROM source WHERE told_at_s < ?", (self._now_s() - SOURCES_KEPT_S,))
        return True

    def sums(self, query: UsageQuery) -> list[dict[str, Any]]:
        return _sums(self._connection, query)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.rollback()
            raise


def opened(path: Path) -> UsageLedger:
    """The ledger at `path`. One that cannot be read is set aside to be looked at: models are served all the same.

    Raises:
        LedgerError: it cannot be written.
    """
    try:
        return UsageLedger(path)
    except LedgerError as error:
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        logger.error("%s; it is set aside as %s, and usage is counted from nothing", error, aside.name)
        with _named_errors(path):
            for beside in ("-wal", "-shm"):
                log = path.with_name(path.name + beside)
                if log.exists():
                    log.rename(aside.with_name(aside.name + beside))
            path.rename(aside)
        return UsageLedger(path)


def read_sums(path: Path, query: UsageQuery) -> list[dict[str, Any]]:
    """Of a ledger that nobody, or another process, has open.

    Raises:
        LedgerError: there is no such file, or it is no usage ledger.
    """
    if not path.is_file():
        raise LedgerError(f"{path}: there is no such file")
    with (
        _named_errors(path),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        _check(connection, path, may_be_new=False)
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


def _check(connection: sqlite3.Connection, path: Path, *, may_be_new: bool) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    is_empty = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    if is_empty and may_be_new:
        return
    if application_id != APPLICATION_ID:
        raise LedgerError(f"{path}: an SQLite file, but no usage ledger")
    if version != VERSION:
        raise LedgerError(f"{path}: a usage ledger of version {version}; this Baryon reads version {VERSION}")


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"{path}: {error}") from error
