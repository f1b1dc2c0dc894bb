"""Tenants and their keys in the state deployment's SQLite file, each row with the revision it was last changed in."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from deployments.audit_log import AuditLog
from deployments.cluster_secret import cluster_secret, secret_path
from deployments.gateway.tenants.api_key import digest
from deployments.gateway.tenants.keyring import KeyPage
from deployments.gateway.tenants.tenant import ANYONE, Limits, Tenant
from deployments.key_changes import LIMITS, CreateKey, KeyChange, RevokeKey, RotateKey, SetLimits

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


class KeyRefused(Exception):
    """Nothing was changed; the message says why."""


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
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._now_s = now_s
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(_SCHEMA)
        self._audit = AuditLog(self._connection, now_s)
        self._check_secret(path)

    def _check_secret(self, path: Path) -> None:
        known = self._connection.execute("SELECT secret_check FROM key_revision").fetchone()
        is_there = secret_path(path).exists()
        if known is None or is_there:
            self._secret = cluster_secret(path)
            self._connection.execute("INSERT OR IGNORE INTO key_revision VALUES (1, 0, ?)", (self._secret.check,))
            known = self._connection.execute("SELECT secret_check FROM key_revision").fetchone()
            if known["secret_check"] == self._secret.check:
                return
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
            KeyRefused: it cannot be done.
        """
        with self._transaction():
            match change:
                case CreateKey():
                    return self._create(change, actor)
                case RotateKey():
                    return self._rotate(change, actor)
                case RevokeKey():
                    return self._revoke(change, actor)
                case SetLimits():
                    return self._set_limits(change, actor)

    def keys(self) -> list[dict[str, Any]]:
        """Every key that there has been, oldest first, without its digest."""
        rows = self._connection.execute(
            "SELECT id, tenant, created_at_s, expires_at_s, revoked_at_s, replaces FROM api_key"
            " ORDER BY created_at_s, revision"
        )
        return [dict(row) for row in rows]

    def tenants(self) -> list[Tenant]:
        return [_tenant(row) for row in self._connection.execute("SELECT * FROM tenant ORDER BY name")]

    def page_after(self, revision: int, epoch: str) -> KeyPage:
        """What changed in the revisions that follow, as many as a page has. From 0 on, what a new gateway needs."""
        last = self.revision
        until = min(last, revision + REVISIONS_PER_PAGE)
        span = (revision, until)
        rows = self._connection.execute(
            "SELECT id, digest, tenant, expires_at_s, revoked_at_s FROM api_key WHERE revision > ? AND revision <= ?",
            span,
        ).fetchall()
        tenants = self._connection.execute("SELECT * FROM tenant WHERE revision > ? AND revision <= ?", span)
        return KeyPage(
            version=f"{epoch}.{until}",
            begins_anew=revision == 0,
            is_last=until == last,
            keys_exist=self.keys_exist(),
            pepper=self._secret.pepper,
            salt_secret=self._secret.salt,
            tenants=tuple(map(_tenant, tenants)),
            keys=tuple(tuple(row)[:4] for row in rows if row["revoked_at_s"] is None),
            revoked=tuple(row["id"] for row in rows if row["revoked_at_s"] is not None),
        )

    def audit(self, limit: int) -> list[dict[str, Any]]:
        return self._audit.rows(limit)

    def note_config(self, document: Mapping[str, Any], actor: str) -> None:
        with self._transaction():
            self._audit.add_config(actor, document)

    def _create(self, change: CreateKey, actor: str) -> dict[str, Any]:
        if change.tenant == ANYONE.name:
            raise KeyRefused(f"'{ANYONE.name}' is who asks without a key; give the tenant another name")
        if self._row("tenant", "name", change.tenant) is None:
            self._connection.execute(
                "INSERT INTO tenant (name, created_at_s, revision) VALUES (?, ?, ?)",
                (change.tenant, self._now_s(), self._next_revision()),
            )
            self._write_settings(change.tenant, change.settings)
        elif change.settings:
            raise KeyRefused(f"the tenant {change.tenant!r} exists; `baryon keys limit` changes what it may")
        self._insert(change.key_id, change.tenant, change.fingerprint, change.expires_at_s, replaces=None)
        details = {"tenant": change.tenant, "expires_at_s": change.expires_at_s, **change.settings}
        self._audit.add(actor, "key.create", change.key_id, details)
        return self._key(change.key_id)

    def _rotate(self, change: RotateKey, actor: str) -> dict[str, Any]:
        old = self._key(change.old_id)
        if old["revoked_at_s"] is not None:
            raise KeyRefused(f"the key {change.old_id} is revoked; `baryon keys create` makes a new one")
        if change.grace_s > 0:
            ends_at_s = self._now_s() + change.grace_s
            ends_at_s = ends_at_s if old["expires_at_s"] is None else min(ends_at_s, old["expires_at_s"])
            self._connection.execute(
                "UPDATE api_key SET expires_at_s = ?, revision = ? WHERE id = ?",
                (ends_at_s, self._next_revision(), change.old_id),
            )
        else:
            self._end(change.old_id)
        self._insert(change.key_id, old["tenant"], change.fingerprint, change.expires_at_s, replaces=change.old_id)
        details = {"tenant": old["tenant"], "replaces": change.old_id, "grace_s": change.grace_s}
        self._audit.add(actor, "key.rotate", change.key_id, {**details, "expires_at_s": change.expires_at_s})
        return self._key(change.key_id)

    def _revoke(self, change: RevokeKey, actor: str) -> dict[str, Any]:
        key = self._key(change.key_id)
        if key["revoked_at_s"] is None:
            self._end(change.key_id)
            self._audit.add(actor, "key.revoke", change.key_id, {"tenant": key["tenant"]})
        return self._key(change.key_id)

    def _set_limits(self, change: SetLimits, actor: str) -> dict[str, Any]:
        row = self._row("tenant", "name", change.tenant)
        if row is None:
            raise KeyRefused(f"there is no tenant {change.tenant!r}; `baryon keys list` shows those there are")
        before = settings_of(_tenant(row))
        self._write_settings(change.tenant, change.settings)
        changed = {k: {"was": before[k], "now": v} for k, v in change.settings.items() if before[k] != v}
        if changed:
            self._audit.add(actor, "tenant.limit", change.tenant, changed)
        return {"tenant": change.tenant, **settings_of(_tenant(self._row("tenant", "name", change.tenant)))}

    def _insert(
        self, key_id: str, tenant: str, fingerprint: bytes, expires_at_s: float | None, replaces: str | None
    ) -> None:
        if self._row("api_key", "id", key_id) is not None:
            raise KeyRefused(f"there is a key {key_id} already; try again")
        self._connection.execute(
            "INSERT INTO api_key (id, tenant, digest, created_at_s, expires_at_s, replaces, revision)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(key_id, tenant, digest(self._secret.pepper, fingerprint)),
                *(self._now_s(), expires_at_s, replaces, self._next_revision()),
            ),
        )

    def _end(self, key_id: str) -> None:
        self._connection.execute(
            "UPDATE api_key SET revoked_at_s = ?, revision = ? WHERE id = ?",
            (self._now_s(), self._next_revision(), key_id),
        )

    def _write_settings(self, tenant: str, settings: Mapping[str, Any]) -> None:
        for name in settings.keys() & {*LIMITS, "priority"}:
            self._connection.execute(f"UPDATE tenant SET {name} = ? WHERE name = ?", (settings[name], tenant))  # noqa: S608
        if "models" in settings:
            models = None if settings["models"] is None else orjson.dumps(sorted(settings["models"]))
            self._connection.execute("UPDATE tenant SET models = ? WHERE name = ?", (models, tenant))
        self._connection.execute("UPDATE tenant SET revision = ? WHERE name = ?", (self._next_revision(), tenant))

    def _key(self, key_id: str) -> dict[str, Any]:
        row = self._row("api_key", "id", key_id)
        if row is None:
            raise KeyRefused(f"there is no key {key_id}; `baryon keys list` shows those there are")
        return {name: row[name] for name in row.keys() if name not in ("digest", "revision")}  # noqa: SIM118

    def _row(self, table: str, column: str, value: str) -> Any:
        return self._connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,)).fetchone()  # noqa: S608

    def _next_revision(self) -> int:
        self._connection.execute("UPDATE key_revision SET revision = revision + 1")
        return self.revision

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def settings_of(tenant: Tenant) -> dict[str, Any]:
    """As `SetLimits` has them."""
    models = None if tenant.models is None else sorted(tenant.models)
    return {**asdict(tenant.limits), "priority": tenant.priority, "models": models}


def _tenant(row: Any) -> Tenant:
    models = None if row["models"] is None else frozenset(orjson.loads(row["models"]))
    return Tenant(row["name"], Limits(**{name: row[name] for name in LIMITS}), row["priority"], models)
