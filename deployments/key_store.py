"""Tenants and their keys in the state deployment's SQLite file, each row with the revision it was last changed in."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployments.audit_log import AuditLog
from deployments.cluster_secret import ClusterSecret, cluster_secret, secret_path
from deployments.gateway.tenants.keyring import KeyPage
from deployments.gateway.tenants.tenant import Tenant
from deployments.key_administration import KeyAdministration, tenant_of
from deployments.key_changes import LIMITS, KeyChange
from deployments.sqlite_file import connect, transaction

REVISIONS_PER_PAGE = 5_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tenant (
    name TEXT PRIMARY KEY,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    concurrent_requests INTEGER,
    tokens_per_day INTEGER,
    priority INTEGER NOT NULL DEFAULT 0,
    models BLOB,
    privacy TEXT NOT NULL DEFAULT 'off',
    show_text TEXT NOT NULL DEFAULT 'off',
    created_at_s REAL NOT NULL,
    revision INTEGER NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS api_key (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenant (name),
    digest BLOB NOT NULL,
    created_at_s REAL NOT NULL,
    expires_at_s REAL,
    revoked_at_s REAL,
    replaces TEXT,
    revision INTEGER NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS key_revision (
    one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, secret_check BLOB NOT NULL
);
"""


class SecretLost(Exception):
    """The keys were made with another secret, so none of them could ever be recognised."""


class KeyStore:
    """One writer's view of the file; several processes may have one. A revoked key's row stays.

    Raises:
        SecretLost: the secret beside the file is not the one its keys were made with.
        sqlite3.DatabaseError: the file is not a database, is corrupt, or cannot be written.
        OSError: the secret cannot be read or written.
    """

    def __init__(self, path: Path, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._connection = connect(path, synchronous="FULL")
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(_SCHEMA)
        add_missing_columns(self._connection)
        self._audit = AuditLog(self._connection, now_s)
        self._secret = self._checked_secret(path)
        self._administration = KeyAdministration(self._connection, self._secret.pepper, self._audit, now_s)

    def _checked_secret(self, path: Path) -> ClusterSecret:
        known = self._connection.execute("SELECT secret_check FROM key_revision").fetchone()
        is_there = secret_path(path).exists()
        if known is None or is_there:
            secret = cluster_secret(path)
            self._connection.execute("INSERT OR IGNORE INTO key_revision VALUES (1, 0, ?)", (secret.check,))
            known = self._connection.execute("SELECT secret_check FROM key_revision").fetchone()
            if known["secret_check"] == secret.check:
                return secret
        self.close()
        raise SecretLost(
            f"the keys in {path} were made with the secret in {secret_path(path)}, which is "
            f"{'another one now' if is_there else 'missing'}. Put it back, or take both files away and make new keys."
        )

    def close(self) -> None:
        self._connection.close()

    @property
    def revision(self) -> int:
        return int(self._connection.execute("SELECT revision FROM key_revision").fetchone()[0])

    def keys_exist(self) -> bool:
        """Whether there has ever been one: what asks for keys never stops to, though all of them be revoked."""
        return self._connection.execute("SELECT 1 FROM api_key LIMIT 1").fetchone() is not None

    def carry_out(self, change: KeyChange, actor: str) -> dict[str, Any]:
        """The key or tenant as it is now, without its digest.

        Raises:
            KeyRefused: it cannot be done, and nothing was changed.
        """
        with transaction(self._connection):
            return self._administration.carry_out(change, actor)

    def keys(self) -> list[dict[str, Any]]:
        """Every key that there has been, oldest first, without its digest."""
        rows = self._connection.execute(
            "SELECT id, tenant, created_at_s, expires_at_s, revoked_at_s, replaces FROM api_key"
            " ORDER BY created_at_s, revision"
        )
        return [dict(row) for row in rows]

    def tenants(self) -> list[Tenant]:
        return [tenant_of(row) for row in self._connection.execute("SELECT * FROM tenant ORDER BY name")]

    def page_after(self, revision: int, epoch: str) -> KeyPage:
        """What changed in the revisions that follow, as many as a page has. From 0 on, what a new gateway needs."""
        last = self.revision
        until = min(last, revision + REVISIONS_PER_PAGE)
        plain = self._connection.cursor()
        plain.row_factory = None

        def rows(what: str) -> list[Any]:
            return plain.execute(f"SELECT {what} AND revision > ? AND revision <= ?", (revision, until)).fetchall()

        return KeyPage(
            version=f"{epoch}.{until}",
            begins_anew=revision == 0,
            is_last=until == last,
            keys_exist=self.keys_exist(),
            pepper=self._secret.pepper,
            salt_secret=self._secret.salt,
            tenants=rows(f"name, {', '.join(LIMITS)}, priority, models, privacy, show_text FROM tenant WHERE TRUE"),
            keys=rows("id, digest, tenant, expires_at_s FROM api_key WHERE revoked_at_s IS NULL"),
            revoked=[row[0] for row in rows("id FROM api_key WHERE revoked_at_s IS NOT NULL")],
        )

    def audit(self, limit: int) -> list[dict[str, Any]]:
        return self._audit.rows(limit)

    def note_config(self, document: Mapping[str, Any], actor: str) -> None:
        with transaction(self._connection):
            self._audit.add_config(actor, document)


def add_missing_columns(connection: sqlite3.Connection) -> None:
    """To a file that an earlier version made."""
    there = {row["name"] for row in connection.execute("PRAGMA table_info(tenant)")}
    for name in ("privacy", "show_text"):
        if name not in there:
            connection.execute(f"ALTER TABLE tenant ADD COLUMN {name} TEXT NOT NULL DEFAULT 'off'")
