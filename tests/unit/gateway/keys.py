"""Keyrings as state would tell them."""

from collections.abc import Mapping

import orjson

from deployments.gateway.tenants.api_key import digest, fingerprint, id_of, new_api_key
from deployments.gateway.tenants.keyring import KeyPage, Keyring, TenantRow
from deployments.gateway.tenants.tenant import Tenant

PEPPER = b"pepper of this cluster"
SALT_SECRET = b"another secret"


def no_keys() -> Keyring:
    """Nobody has made a key."""
    keyring = Keyring()
    keyring.adopt(KeyPage("e.0", begins_anew=True, is_last=True, keys_exist=False, pepper=b"", salt_secret=b""))
    return keyring


def page(
    keys: Mapping[str, Tenant],
    *,
    version: str = "e.1",
    begins_anew: bool = True,
    is_last: bool = True,
    expires_at_s: float | None = None,
    revoked: tuple[str, ...] = (),
) -> KeyPage:
    rows = []
    for key, tenant in keys.items():
        key_id = id_of(key.encode())
        assert key_id is not None
        rows.append((key_id, digest(PEPPER, fingerprint(key.encode())), tenant.name, expires_at_s))
    return KeyPage(
        version,
        begins_anew,
        is_last,
        keys_exist=True,
        pepper=PEPPER,
        salt_secret=SALT_SECRET,
        tenants=list(map(tenant_row, set(keys.values()))),
        keys=rows,
        revoked=revoked,
    )


def tenant_row(tenant: Tenant) -> TenantRow:
    limits = tenant.limits
    models = None if tenant.models is None else orjson.dumps(sorted(tenant.models))
    return (
        *(tenant.name, limits.requests_per_minute, limits.tokens_per_minute),
        *(limits.concurrent_requests, limits.tokens_per_day, tenant.priority, models, tenant.privacy),
        tenant.show_text,
    )


def keyring_of(keys: Mapping[str, Tenant]) -> Keyring:
    keyring = Keyring()
    keyring.adopt(page(keys))
    return keyring


def new_key() -> str:
    return new_api_key()[1]
