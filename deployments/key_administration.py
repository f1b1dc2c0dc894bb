"""What a change to keys or tenants does to their rows, and the row that the audit log gets of it."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson

from deployments.audit_log import AuditLog
from deployments.gateway.tenants.api_key import digest
from deployments.gateway.tenants.keyring import tenant_of_row
from deployments.gateway.tenants.tenant import ANYONE, Tenant
from deployments.key_changes import LIMITS, CreateKey, KeyChange, RevokeKey, RotateKey, SetLimits

TENANT_NAME = re.compile(r"[\w.@-]{1,64}")


class KeyRefused(Exception):
    """Nothing was changed; the message says why."""


class KeyAdministration:
    """Within the caller's transaction. Each row that changes gets a revision of its own, by which gateways follow."""

    def __init__(
        self, connection: sqlite3.Connection, pepper: bytes, audit: AuditLog, now_s: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._pepper = pepper
        self._audit = audit
        self._now_s = now_s

    def carry_out(self, change: KeyChange, actor: str) -> dict[str, Any]:
        """Raises:
        KeyRefused: it cannot be done.
        """
        match change:
            case CreateKey():
                return self._create(change, actor)
            case RotateKey():
                return self._rotate(change, actor)
            case RevokeKey():
                return self._revoke(change, actor)
            case SetLimits():
                return self._set_limits(change, actor)

    def _create(self, change: CreateKey, actor: str) -> dict[str, Any]:
        if not TENANT_NAME.fullmatch(change.tenant):
            raise KeyRefused("a tenant's name has 1 to 64 letters, digits and . @ - _ only")
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
        expires_at_s = change.expires_at_s or self._expiry_of_successor(old)
        if change.grace_s > 0:
            ends_at_s = self._now_s() + change.grace_s
            ends_at_s = ends_at_s if old["expires_at_s"] is None else min(ends_at_s, old["expires_at_s"])
            self._connection.execute(
                "UPDATE api_key SET expires_at_s = ?, revision = ? WHERE id = ?",
                (ends_at_s, self._next_revision(), change.old_id),
            )
        else:
            self._end(change.old_id)
        self._insert(change.key_id, old["tenant"], change.fingerprint, expires_at_s, replaces=change.old_id)
        details = {"tenant": old["tenant"], "replaces": change.old_id, "grace_s": change.grace_s}
        self._audit.add(actor, "key.rotate", change.key_id, {**details, "expires_at_s": expires_at_s})
        return self._key(change.key_id)

    def _expiry_of_successor(self, old: dict[str, Any]) -> float | None:
        """It lives as long as the old one was made for. The end of one that was replaced before is its grace's."""
        if old["expires_at_s"] is None or self._row("api_key", "replaces", old["id"]) is not None:
            return None
        return self._now_s() + float(old["expires_at_s"] - old["created_at_s"])

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
        before = settings_of(tenant_of(row))
        self._write_settings(change.tenant, change.settings)
        changed = {k: {"was": before[k], "now": v} for k, v in change.settings.items() if before[k] != v}
        if changed:
            self._audit.add(actor, "tenant.limit", change.tenant, changed)
        return {"tenant": change.tenant, **settings_of(tenant_of(self._row("tenant", "name", change.tenant)))}

    def _insert(
        self, key_id: str, tenant: str, fingerprint: bytes, expires_at_s: float | None, replaces: str | None
    ) -> None:
        if self._row("api_key", "id", key_id) is not None:
            raise KeyRefused(f"there is a key {key_id} already; try again")
        self._connection.execute(
            "INSERT INTO api_key (id, tenant, digest, created_at_s, expires_at_s, replaces, revision)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(key_id, tenant, digest(self._pepper, fingerprint)),
                *(self._now_s(), expires_at_s, replaces, self._next_revision()),
            ),
        )

    def _end(self, key_id: str) -> None:
        self._connection.execute(
            "UPDATE api_key SET revoked_at_s = ?, revision = ? WHERE id = ?",
            (self._now_s(), self._next_revision(), key_id),
        )

    def _write_settings(self, tenant: str, settings: Mapping[str, Any]) -> None:
        for name in settings.keys() & {*LIMITS, "priority", "privacy", "show_text"}:
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
        return int(self._connection.execute("SELECT revision FROM key_revision").fetchone()[0])


def settings_of(tenant: Tenant) -> dict[str, Any]:
    """As `SetLimits` has them."""
    models = None if tenant.models is None else sorted(tenant.models)
    return {
        **asdict(tenant.limits),
        "priority": tenant.priority,
        "models": models,
        "privacy": tenant.privacy,
        "show_text": tenant.show_text,
    }


def tenant_of(row: Any) -> Tenant:
    settings = (row["priority"], row["models"], row["privacy"], row["show_text"])
    return tenant_of_row((row["name"], *(row[name] for name in LIMITS), *settings))
