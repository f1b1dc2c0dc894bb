"""What the autoscaler must not forget when its process ends: what it decided, why, and how long starts took."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from cluster.autoscaler.decision import Decision
from deployments.sqlite_file import connect

UNCHANGED_KEPT_S = 3_600.0
CHANGES_KEPT_PER_MODEL = 10_000
COLD_STARTS_KEPT = 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decision (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    at_s REAL NOT NULL,
    was INTEGER NOT NULL,
    granted INTEGER NOT NULL,
    reason TEXT NOT NULL,
    inputs BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS decision_of_model ON decision (model, id);
CREATE TABLE IF NOT EXISTS cold_start (id INTEGER PRIMARY KEY, model TEXT NOT NULL, seconds REAL NOT NULL);
"""


class ScalingStore:
    """The decision ledger and what belongs to it, in the state deployment's SQLite file. Called from one thread.

    A decision that changed nothing is kept for an hour, one that changed a count until ten thousand came after it.

    Raises:
        sqlite3.DatabaseError: the file is not a database, is corrupt, or cannot be written.
    """

    def __init__(self, path: Path, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._connection = connect(path)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def keep_decision(self, model: str, was: int, granted: int, decision: Decision, reason: str) -> None:
        """`was` and `granted`: the count before and after."""
        self._connection.execute(
            "INSERT INTO decision (model, at_s, was, granted, reason, inputs) VALUES (?, ?, ?, ?, ?, ?)",
            (model, self._now_s(), was, granted, reason, orjson.dumps(asdict(decision))),
        )

    def trim(self) -> None:
        """Forget what is beyond the bounds."""
        before_s = self._now_s() - UNCHANGED_KEPT_S
        self._connection.execute("DELETE FROM decision WHERE was = granted AND at_s < ?", (before_s,))
        for row in self._connection.execute("SELECT model, COUNT(*) AS n FROM decision GROUP BY model").fetchall():
            if row["n"] > 2 * CHANGES_KEPT_PER_MODEL:
                self._connection.execute(
                    "DELETE FROM decision WHERE model = ? AND id NOT IN"
                    " (SELECT id FROM decision WHERE model = ? ORDER BY id DESC LIMIT ?)",
                    (row["model"], row["model"], CHANGES_KEPT_PER_MODEL),
                )

    def decisions(self, model: str, limit: int, *, changes_only: bool = False) -> list[dict[str, Any]]:
        """Newest first: when, from how many to how many, why, and what was seen."""
        rows = self._connection.execute(
            "SELECT * FROM decision WHERE model = ? AND (was != granted OR NOT ?) ORDER BY id DESC LIMIT ?",
            (model, changes_only, limit),
        )
        return [_decision(row) for row in rows]

    def cold_starts(self, model: str) -> list[float]:
        """Seconds that the last starts took, oldest first."""
        rows = self._connection.execute(
            "SELECT seconds FROM cold_start WHERE model = ? ORDER BY id DESC LIMIT ?", (model, COLD_STARTS_KEPT)
        ).fetchall()
        return [row["seconds"] for row in reversed(rows)]

    def keep_cold_start(self, model: str, seconds: float) -> None:
        self._connection.execute("INSERT INTO cold_start (model, seconds) VALUES (?, ?)", (model, seconds))
        self._connection.execute(
            "DELETE FROM cold_start WHERE model = ? AND id NOT IN"
            " (SELECT id FROM cold_start WHERE model = ? ORDER BY id DESC LIMIT ?)",
            (model, model, COLD_STARTS_KEPT),
        )


def _decision(row: Mapping[str, Any]) -> dict[str, Any]:
    inputs = orjson.loads(row["inputs"])
    return {name: row[name] for name in ("model", "at_s", "was", "granted", "reason")} | {
        name: value for name, value in inputs.items() if name not in ("now_s", "reason")
    }
