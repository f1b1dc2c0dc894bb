"""Tells state what is asked of each model, for the autoscaler to size replica counts by."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from cluster.autoscaler.demand import Demand
from deployments.gateway.app import GatewayApp
from deployments.gateway.model_routers import now_ms
from deployments.gateway.untold_demand import carried_on

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
MOST_OFTEN = 0.1

Tell = Callable[[str, dict[str, Demand]], Awaitable[None]]


class DemandReporter:
    """One gateway's: every second, and at once when a request begins to wait for a model that has no replica, though
    not more than ten times a second.

    `tell` raises when state does not know it, for instance because it is away. Then the report is kept, and what comes
    is added to it.
    """

    def __init__(self, app: GatewayApp, tell: Tell, period_s: float = PERIOD_S) -> None:
        self._app = app
        self._tell = tell
        self._period_s = period_s

    async def run(self) -> None:
        untold: dict[str, Demand] = {}
        while True:
            try:
                untold = carried_on(untold, self._app.demand(now_ms()))
                await self._tell(self._app.routers.gateway_id, untold)
                untold = {}
            except Exception as error:
                logger.warning("state was not told of demand, which is kept until it is: %r", error)
            await self._pause()

    async def _pause(self) -> None:
        """A period, or what is left of a tenth of one when there is news."""
        await asyncio.sleep(MOST_OFTEN * self._period_s)
        news = self._app.room.news
        try:
            async with asyncio.timeout((1 - MOST_OFTEN) * self._period_s):
                await news.wait()
        except TimeoutError:
            return
        finally:
            news.clear()
