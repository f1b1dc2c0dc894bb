"""Calls of the state deployment by who outlives its restarts."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.state import APPLICATION


class StateCalls:
    """The handle is kept while calls succeed: one of a replica that is gone would go on failing."""

    def __init__(self) -> None:
        self._handle: DeploymentHandle | None = None
        self._heard_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Since state has answered the last of these calls, of which a gateway makes one a second."""
        return time.monotonic() - self._heard_s

    async def call(self, method: str, *arguments: Any, within_s: float) -> Any:
        """Withdraws a call that is not answered in time.

        Raises:
            TimeoutError: it was not.
            Exception: whatever Serve raises when state is away.
        """
        try:
            async with asyncio.timeout(within_s):
                answer = await self._answer(method, arguments)
        except Exception:
            self._handle = None
            raise
        self._heard_s = time.monotonic()
        return answer

    async def _answer(self, method: str, arguments: Sequence[Any]) -> Any:
        if self._handle is None:
            self._handle = await asyncio.to_thread(serve.get_deployment_handle, "State", APPLICATION)
        response = getattr(self._handle, method).remote(*arguments)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise
