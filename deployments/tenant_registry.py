"""State's part that knows tenants and keys: it makes changes, tells gateways of them, and remembers who made them."""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.gateway.tenants.keyring import KeyPage
from deployments.key_administration import KeyRefused, settings_of
from deployments.key_changes import KeyChange, Refused
from deployments.key_store import KeyStore

WATCH_TIMEOUT_S = 20.0
FILE_IS_READ_AGAIN_S = 1.0


class TenantRegistry:
    """Called on one event loop. Raises what `KeyStore` does when it is made."""

    def __init__(self, path: Path) -> None:
        self._store = KeyStore(path)
        self._epoch = secrets.token_hex(4)
        self._changed = asyncio.Condition()

    async def watch(self, known_version: str) -> KeyPage:
        """What changed since, as soon as something has, or nothing after `WATCH_TIMEOUT_S`; the first page of it.

        A version of another process begins anew. The file is read again every second: a command that found no cluster
        writes into it directly, even if one starts meanwhile.
        """
        epoch, _, known = known_version.partition(".")
        revision = int(known) if epoch == self._epoch else 0
        if epoch == self._epoch:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_TIMEOUT_S):
                    while self._store.revision == revision:
                        await self._next_change()
        return self._store.page_after(revision, self._epoch)

    async def change(self, change: KeyChange, actor: str) -> dict[str, Any] | Refused:
        try:
            made = self._store.carry_out(change, actor)
        except KeyRefused as refusal:
            return Refused(str(refusal))
        async with self._changed:
            self._changed.notify_all()
        return made

    def listing(self) -> dict[str, Any]:
        return listing(self._store)

    def audit(self, limit: int) -> list[dict[str, Any]]:
        return self._store.audit(limit)

    def note_config(self, user_config: Mapping[str, Any]) -> None:
        """Of what state is configured with: the gateway's part and each model's settings, and by whom."""
        models = {card["name"]: card["settings"] for card in user_config["models"]}
        self._store.note_config({"gateway": user_config["gateway"], "models": models}, user_config["changed_by"])

    def close(self) -> None:
        self._store.close()

    async def _next_change(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FILE_IS_READ_AGAIN_S), self._changed:
                await self._changed.wait()


def listing(store: KeyStore) -> dict[str, Any]:
    """Keys without their digests, tenants with what they may, and whether there has ever been a key."""
    return {
        "keys_exist": store.keys_exist(),
        "keys": store.keys(),
        "tenants": [{"name": tenant.name, **settings_of(tenant)} for tenant in store.tenants()],
    }
