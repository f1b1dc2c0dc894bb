"""Tokens of each day by tenant, model and who counted them, in state's SQLite file: budgets survive a restart."""

from collections.abc import Sequence
from pathlib import Path

from deployments.day_totals import DayCount
from deployments.gateway.tenants.lease import Key
from deployments.sqlite_file import connect, transaction

DAYS_KEPT = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS day_tokens (
    day INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    counted_by TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (day, tenant, model, counted_by)
) WITHOUT ROWID;
"""


class DayStore:
    """Called from one thread.

    Raises:
        sqlite3.DatabaseError: the file is not a database, is corrupt, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def spent(self, day: int, key: Key) -> dict[str, int]:
        """Tokens by who counted them; `day` in days since 1970, UTC."""
        rows = self._connection.execute(
            "SELECT counted_by, tokens FROM day_tokens WHERE day = ? AND tenant = ? AND model = ?", (day, *key)
        )
        return dict(rows.fetchall())

    def keep(self, counts: Sequence[DayCount]) -> None:
        """All of them or none."""
        rows = [(count.day, *count.key, count.counted_by, count.tokens) for count in counts]
        with transaction(self._connection):
            self._connection.executemany("INSERT OR REPLACE INTO day_tokens VALUES (?, ?, ?, ?, ?)", rows)

    def forget_before(self, day: int) -> None:
        self._connection.execute("DELETE FROM day_tokens WHERE day < ?", (day - DAYS_KEPT,))
