"""What the latest requests said and were answered, in memory, of tenants that have it shown."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.texts.request_text import RequestText

MOST_BYTES = 4 * 2**20
TenantNamed = Callable[[str], Tenant | None]


class KeptText(NamedTuple):
    """`is_redacted`: its tenant had personal data taken out of it. `told`: as JSON."""

    tenant: str
    is_redacted: bool
    told: bytes


class KeptTexts:
    """By the request's id; of more than `most_bytes` in all the oldest go. `tenant_named`: as it is now.

    What a tenant no longer has shown, or was kept before its personal data was taken out, is neither told nor taken in.
    """

    def __init__(self, tenant_named: TenantNamed, most_bytes: int = MOST_BYTES) -> None:
        self._tenant_named = tenant_named
        self._most_bytes = most_bytes
        self._texts: OrderedDict[str, KeptText] = OrderedDict()
        self.bytes = 0

    def keep(self, request_id: str, text: RequestText) -> None:
        kept = KeptText(text.tenant, text.is_redacted, b"")
        if not self._is_shown(kept):
            return
        self.forget(request_id)
        self._texts[request_id] = kept = kept._replace(told=fitting(text.told()))
        self.bytes += len(kept.told)
        while self.bytes > self._most_bytes:
            self.forget(next(iter(self._texts)))

    def of(self, request_id: str) -> dict[str, Any] | None:
        kept = self._texts.get(request_id)
        if kept is None or not self._is_shown(kept):
            return None
        told: dict[str, Any] = orjson.loads(kept.told)
        return told

    def forget(self, request_id: str) -> None:
        kept = self._texts.pop(request_id, None)
        if kept is not None:
            self.bytes -= len(kept.told)

    def forget_hidden(self) -> None:
        """Tenants have changed."""
        for request_id in [request_id for request_id, kept in self._texts.items() if not self._is_shown(kept)]:
            self.forget(request_id)

    def __len__(self) -> int:
        return len(self._texts)

    def _is_shown(self, kept: KeptText) -> bool:
        tenant = self._tenant_named(kept.tenant)
        if tenant is None or tenant.show_text == "off":
            return False
        return kept.is_redacted or tenant.privacy == "off"


def fitting(written: bytes) -> bytes:
    """In no more memory than it needs: orjson's bytes have up to twice as much."""
    return bytes(memoryview(written))
