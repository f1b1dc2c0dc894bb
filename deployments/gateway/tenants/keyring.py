"""Which key belongs to which tenant, as state last told it, and how long ago that was."""

import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from deployments.gateway.tenants.api_key import digest, fingerprint, id_of
from deployments.gateway.tenants.tenant import Limits, Privacy, ShowText, Tenant

KeyRow = tuple[str, bytes, str, float | None]
TenantRow = tuple[str, int | None, int | None, int | None, int | None, int, bytes | None, Privacy, ShowText]
NOBODYS: KeyRow = ("", bytes(32), "", None)


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A part of what changed since a version. `begins_anew`: what was known before counts no more.

    Rows are plain tuples: there may be 100,000. `tenants`: name, `Limits` in their order, priority, its models as JSON,
    its privacy, and whether its text is shown. `keys`: id, digest, tenant, and when it expires in seconds of the wall
    clock, or None.
    `keys_exist`: whether there has ever been one, so that revoking the last one opens nothing.
    """

    version: str
    begins_anew: bool
    is_last: bool
    keys_exist: bool
    pepper: bytes = field(repr=False)
    salt_secret: bytes = field(repr=False)
    tenants: Sequence[TenantRow] = ()
    keys: Sequence[KeyRow] = field(default=(), repr=False)
    revoked: Sequence[str] = ()


class Keyring:
    """Whole or not at all: pages are put together beside what is in use, which the last page replaces."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._told_s = now_s()
        self.version = ""
        self.is_known = False
        self.keys_exist = False
        self.salt_secret = b""
        self._pepper = b""
        self._tenants: dict[str, Tenant] = {}
        self._keys: dict[str, KeyRow] = {}
        self._next: tuple[dict[str, Tenant], dict[str, KeyRow]] | None = None

    def adopt(self, page: KeyPage) -> None:
        self.version = page.version
        if page.begins_anew or self._next is None:
            self._next = ({}, {}) if page.begins_anew else (dict(self._tenants), dict(self._keys))
        tenants, keys = self._next
        tenants.update({row[0]: tenant_of_row(row) for row in page.tenants})
        keys.update({row[0]: row for row in page.keys})
        for key_id in page.revoked:
            keys.pop(key_id, None)
        if page.is_last:
            self._tenants, self._keys, self._next = tenants, keys, None
            self._pepper, self.salt_secret = page.pepper, page.salt_secret
            self.keys_exist, self.is_known = page.keys_exist, True
            self._told_s = self._now_s()

    @property
    def age_s(self) -> float:
        """Since state has told all, be it that nothing changed; since the beginning if it never has."""
        return self._now_s() - self._told_s

    def tenant_of(self, key: bytes, now_s: float) -> Tenant | None:
        """None for a key that is unknown, wrong, revoked or expired at `now_s` of the wall clock."""
        key_id = id_of(key)
        if key_id is None:
            return None
        _, key_digest, tenant, expires_at_s = self._keys.get(key_id, NOBODYS)
        is_right = hmac.compare_digest(key_digest, digest(self._pepper, fingerprint(key)))
        if not is_right or (expires_at_s is not None and now_s >= expires_at_s):
            return None
        return self._tenants.get(tenant)

    def tenant_named(self, name: str) -> Tenant | None:
        return self._tenants.get(name)


def tenant_of_row(row: TenantRow) -> Tenant:
    name, *limits, priority, models, privacy, show_text = row
    allowed = None if models is None else frozenset(orjson.loads(models))
    return Tenant(name, Limits(*limits), priority, allowed, privacy, show_text)
