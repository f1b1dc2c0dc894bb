"""A gateway's keys, kept as state last told them. While state is away it goes on with those."""

import asyncio
import logging
from collections.abc import Callable

from ray import serve

from deployments.gateway.tenants.keyring import KeyPage, Keyring
from deployments.state import APPLICATION
from deployments.tenant_registry import WATCH_TIMEOUT_S

logger = logging.getLogger(__name__)

RETRY_S = 0.5


async def follow_keys(keyring: Keyring, changed: Callable[[], None]) -> None:
    """For ever. `changed` is called whenever all that state has told is in use."""
    while True:
        try:
            async with asyncio.timeout(2 * WATCH_TIMEOUT_S):
                state = await asyncio.to_thread(serve.get_deployment_handle, "State", APPLICATION)
                page: KeyPage = await state.watch_keys.remote(keyring.version)
        except Exception as error:
            logger.warning("state is away, keys stay as they were: %s", type(error).__name__)
            await asyncio.sleep(RETRY_S)
            continue
        keyring.adopt(page)
        if page.is_last:
            changed()
