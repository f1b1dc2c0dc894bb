"""Step 2: from the head of a request to its tenant. Nobody comes in while it is not known who may."""

import time
from collections.abc import Callable, Mapping

from deployments.gateway.cache_salt import cache_salt
from deployments.gateway.errors import (
    GatewayError,
    key_missing,
    key_refused,
    keys_unknown,
    no_key_exists,
    two_credentials,
)
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway.tenants.tenant import ANYONE, Tenant

READY_ROUTE = b"/ready"
OPEN_ROUTES = frozenset({b"/health", b"/-/healthz", READY_ROUTE})


class Door:
    """`always`: a key is needed even though there is none. Otherwise it is needed as soon as there is one."""

    def __init__(self, keyring: Keyring, always: Callable[[], bool], now_s: Callable[[], float] = time.time) -> None:
        self._keyring = keyring
        self._always = always
        self._now_s = now_s

    @property
    def needs_key(self) -> bool:
        return self._keyring.keys_exist or self._always()

    def tenant(self, headers: Mapping[bytes, bytes]) -> Tenant:
        """Raises:
        GatewayError: 401 without a key that is good, 400 with two different ones, 503 before the first word of state.
        """
        if not self._keyring.is_known:
            raise keys_unknown()
        if not self._keyring.keys_exist:
            if self._always():
                raise no_key_exists()
            return ANYONE
        key = credential(headers)
        if key is None:
            raise key_missing()
        tenant = self._keyring.tenant_of(key, self._now_s())
        if tenant is None:
            raise key_refused()
        return tenant

    def refusal(self, path: bytes, headers: Mapping[bytes, bytes]) -> GatewayError | None:
        """Why the body of a request with this head is not even kept. `tenant` is asked again once all of it is here."""
        if path in OPEN_ROUTES:
            return None
        try:
            self.tenant(headers)
        except GatewayError as error:
            return error
        return None

    def tenant_named(self, name: str) -> Tenant | None:
        """As state last told it."""
        return self._keyring.tenant_named(name)

    def cache_salt(self, tenant: Tenant) -> str | None:
        return None if tenant is ANYONE else cache_salt(self._keyring.salt_secret, tenant.name)


def credential(headers: Mapping[bytes, bytes]) -> bytes | None:
    """OpenAI's clients send `authorization: Bearer KEY`, Anthropic's `x-api-key: KEY`, some both.

    Raises:
        GatewayError: they differ.
    """
    scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
    found = {bearer.strip()} if scheme.lower() == b"bearer" else set()
    found |= {headers[b"x-api-key"].strip()} if b"x-api-key" in headers else set()
    if len(found) > 1:
        raise two_credentials()
    return next(iter(found), None)
