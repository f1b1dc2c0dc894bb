"""Who changed what, and when: rows that are only ever added. Never a secret."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

_SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_s REAL NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details BLOB NOT NULL
);
CREATE TRIGGER IF NOT EXISTS audit_stays BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_kept BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;
CREATE TABLE IF NOT EXISTS audited_config (one INTEGER PRIMARY KEY CHECK (one = 1), document BLOB NOT NULL);
"""


class AuditLog:
    """On the connection of whose changes it keeps, so that a change and its row are one transaction.

    `actor` is as the command told it: user and host. It is a record for honest people, and no proof.
    """

    def __init__(self, connection: sqlite3.Connection, now_s: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._now_s = now_s
        connection.executescript(_SCHEMA)

    def add(self, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
        self._connection.execute(
            "INSERT INTO audit (at_s, actor, action, subject, details) VALUES (?, ?, ?, ?, ?)",
            (self._now_s(), actor, action, subject, orjson.dumps(dict(details))),
        )

    def add_config(self, actor: str, document: Mapping[str, Any]) -> None:
        """A row with what differs from the last one, if anything does. `document` has no secrets in it."""
        row = self._connection.execute("SELECT document FROM audited_config").fetchone()
        changed = differences(orjson.loads(row[0]) if row else {}, document)
        if changed:
            self._connection.execute(
                "INSERT OR REPLACE INTO audited_config VALUES (1, ?)", (orjson.dumps(dict(document)),)
            )
            self.add(actor, "config.change", "baryon.yaml", changed)

    def rows(self, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
        found = self._connection.execute(
            "SELECT at_s, actor, action, subject, details FROM audit ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [dict(row) | {"details": orjson.loads(row["details"])} for row in found]


def differences(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    """By dotted name, what it was and what it is; None where there is nothing. Tables are looked into."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(was.keys() | now.keys()):
        before, after = was.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found[prefix + name] = {"was": before, "now": after}
    return found
