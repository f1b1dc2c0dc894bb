"""Step 2: from the head of a request to its tenant. Nobody comes in while it is not known who may."""

import time
from collections.abc import Callable, Mapping

from deployments.gateway.cache_salt import cache_salt
from deployments.gateway.errors import (
    GatewayError,
    key_missing,
    key_refused,
    keys_stale,
    keys_unknown,
    no_key_exists,
    two_credentials,
)
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway.tenants.tenant import ANYONE, Tenant

READY_ROUTE = b"/ready"
OPEN_ROUTES = frozenset({b"/health", b"/-/healthz", READY_ROUTE})


class Door:
    """`always`: a key is needed even though there is none. Otherwise it is needed as soon as there is one.

    `good_for_s`: how long keys are good without a word of state, which may have revoked some; None: until it is back.
    """

    def __init__(
        self,
        keyring: Keyring,
        always: Callable[[], bool],
        now_s: Callable[[], float] = time.time,
        good_for_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._keyring = keyring
        self._always = always
        self._good_for_s = good_for_s
        self._now_s = now_s

    @property
    def keys_age_s(self) -> float:
        return self._keyring.age_s

    @property
    def needs_key(self) -> bool:
        return self._keyring.keys_exist or self._always()

    def tenant(self, headers: Mapping[bytes, bytes]) -> Tenant:
        """Raises:
        GatewayError: 401 without a key that is good, 400 with two different ones, 503 before the first word of state
            or too long after its last one.
        """
        if not self._keyring.is_known:
            raise keys_unknown()
        if not self._keyring.keys_exist:
            if self._always():
                raise no_key_exists()
            return ANYONE
        good_for_s = self._good_for_s()
        if good_for_s is not None and self._keyring.age_s > good_for_s:
            raise keys_stale(good_for_s)
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
