"""What takes long before anything is asked of an engine, and is of no use to a client that has left."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from deployments.gateway.errors import client_left
from deployments.gateway.recipient import Recipient

Made = TypeVar("Made")


async def for_client(response: Recipient, work: Coroutine[Any, Any, Made]) -> Made:
    """Ends with the client.

    Raises:
        GatewayError: 499, it has left.
    """
    task = asyncio.get_running_loop().create_task(work)

    def stop() -> None:
        task.cancel()

    response.on_gone = stop
    if response.client_is_gone:
        stop()
    try:
        return await task
    except asyncio.CancelledError:
        if task.cancelled() and response.client_is_gone:
            raise client_left() from None
        raise
    finally:
        response.on_gone = None
