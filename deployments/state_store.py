"""What outlives a process, in one SQLite file: the model catalogue and each replica's start-up stages."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from deployments.sqlite_file import connect, transaction

FAILURES_KEPT_PER_MODEL = 20
DRAINS_KEPT_PER_MODEL = 20

_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS model (name TEXT PRIMARY KEY, position INTEGER NOT NULL, card BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS replica (
    replica_id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    node_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    engine TEXT NOT NULL,
    stage TEXT NOT NULL,
    detail TEXT NOT NULL,
    started_at_s REAL NOT NULL,
    seen_at_s REAL NOT NULL,
    stages BLOB NOT NULL,
    kv_cache_tokens INTEGER
);
CREATE TABLE IF NOT EXISTS failure (
    id INTEGER PRIMARY KEY,
    replica_id TEXT NOT NULL,
    model TEXT NOT NULL,
    cause TEXT NOT NULL,
    message TEXT NOT NULL,
    at_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS drain (
    id INTEGER PRIMARY KEY,
    replica_id TEXT NOT NULL,
    model TEXT NOT NULL,
    waited_s REAL NOT NULL,
    cut_requests INTEGER NOT NULL,
    at_s REAL NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What a replica says of itself. `stages` maps each stage entered so far to the seconds spent in it.

    `kv_cache_tokens`: what its KV cache holds, once that is known.
    """

    replica_id: str
    model: str
    node_id: str
    pid: int
    engine: str
    stage: str
    detail: str
    started_at_s: float
    stages: Mapping[str, float]
    kv_cache_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class FailureReport:
    """Why a replica's engine was given up: `cause` is a word for programs, `message` a sentence for people."""

    replica_id: str
    model: str
    cause: str
    message: str


@dataclass(frozen=True, slots=True)
class DrainReport:
    """How a replica ended that was asked to: after `waited_s` it cut the `cut_requests` that still ran."""

    replica_id: str
    model: str
    waited_s: float
    cut_requests: int


class StateStore:
    """One writer's view of the SQLite file. Not thread-safe: the state deployment calls it from one thread.

    Raises:
        sqlite3.DatabaseError: the file is not a database, is corrupt, or cannot be written.
    """

    def __init__(self, path: Path, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._connection = connect(path)
        self._connection.row_factory = sqlite3.Row
        if self._connection.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
            self._connection.execute("DROP TABLE IF EXISTS replica")  # replicas tell again within seconds
            self._connection.execute(f"PRAGMA user_version={_VERSION}")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def replace_catalogue(self, models: list[dict[str, Any]]) -> None:
        """Make the catalogue exactly `models`; forget replicas and failures of models that left it."""
        names = [model["name"] for model in models]
        marks = ",".join("?" * len(names))
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM model")
            connection.executemany(
                "INSERT INTO model VALUES (?, ?, ?)",
                [(model["name"], position, orjson.dumps(model)) for position, model in enumerate(models)],
            )
            connection.execute(f"DELETE FROM replica WHERE model NOT IN ({marks})", names)  # noqa: S608
            connection.execute(f"DELETE FROM failure WHERE model NOT IN ({marks})", names)  # noqa: S608
            connection.execute(f"DELETE FROM drain WHERE model NOT IN ({marks})", names)  # noqa: S608

    def catalogue(self) -> list[dict[str, Any]]:
        rows = self._connection.execute("SELECT card FROM model ORDER BY position")
        return [orjson.loads(row["card"]) for row in rows]

    def record_replica(self, report: ReplicaReport) -> bool:
        """Keep the newest report of this replica; whether its stage or detail is news."""
        known = self._connection.execute(
            "SELECT stage, detail FROM replica WHERE replica_id = ?", (report.replica_id,)
        ).fetchone()
        row = asdict(report) | {"stages": orjson.dumps(dict(report.stages)), "seen_at_s": self._now_s()}
        self._connection.execute(
            "INSERT OR REPLACE INTO replica VALUES (:replica_id, :model, :node_id, :pid, :engine, :stage, :detail,"
            " :started_at_s, :seen_at_s, :stages, :kv_cache_tokens)",
            row,
        )
        return known is None or (known["stage"], known["detail"]) != (report.stage, report.detail)

    def record_failure(self, report: FailureReport) -> None:
        """Keep the cause and forget the replica's live row: it will not come back under this id."""
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM replica WHERE replica_id = ?", (report.replica_id,))
            connection.execute(
                "INSERT INTO failure (replica_id, model, cause, message, at_s) VALUES (?, ?, ?, ?, ?)",
                (report.replica_id, report.model, report.cause, report.message, self._now_s()),
            )
            connection.execute(
                "DELETE FROM failure WHERE model = ? AND id NOT IN"
                " (SELECT id FROM failure WHERE model = ? ORDER BY id DESC LIMIT ?)",
                (report.model, report.model, FAILURES_KEPT_PER_MODEL),
            )

    def record_drain(self, report: DrainReport) -> None:
        """Keep how it ended, and forget the replica's live row."""
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM replica WHERE replica_id = ?", (report.replica_id,))
            connection.execute(
                "INSERT INTO drain (replica_id, model, waited_s, cut_requests, at_s) VALUES (?, ?, ?, ?, ?)",
                (report.replica_id, report.model, report.waited_s, report.cut_requests, self._now_s()),
            )
            connection.execute(
                "DELETE FROM drain WHERE model = ? AND id NOT IN"
                " (SELECT id FROM drain WHERE model = ? ORDER BY id DESC LIMIT ?)",
                (report.model, report.model, DRAINS_KEPT_PER_MODEL),
            )

    def forget_replica(self, replica_id: str) -> None:
        self._connection.execute("DELETE FROM replica WHERE replica_id = ?", (replica_id,))

    def record_lost_replicas(self, silent_for_s: float) -> list[FailureReport]:
        """Turn replicas not heard of for `silent_for_s` into failures."""
        silent = self._connection.execute(
            "SELECT replica_id, model, stage FROM replica WHERE seen_at_s < ?", (self._now_s() - silent_for_s,)
        ).fetchall()
        lost = []
        for row in silent:
            message = f"The replica's process or node went away without a word during stage '{row['stage']}'."
            lost.append(FailureReport(row["replica_id"], row["model"], "replica_lost", message))
            self.record_failure(lost[-1])
        return lost

    def replicas(self) -> list[dict[str, Any]]:
        rows = self._connection.execute("SELECT * FROM replica ORDER BY model, started_at_s")
        return [dict(row) | {"stages": orjson.loads(row["stages"])} for row in rows]

    def failures(self) -> list[dict[str, Any]]:
        """Newest first."""
        rows = self._connection.execute("SELECT replica_id, model, cause, message, at_s FROM failure ORDER BY id DESC")
        return [dict(row) for row in rows]

    def drains(self) -> list[dict[str, Any]]:
        """Newest first."""
        rows = self._connection.execute(
            "SELECT replica_id, model, waited_s, cut_requests, at_s FROM drain ORDER BY id DESC"
        )
        return [dict(row) for row in rows]
