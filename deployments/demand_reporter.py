"""Tells the state deployment what is asked of each model, for the autoscaler to size replica counts by."""

import asyncio
import logging

from ray import serve
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from cluster.autoscaler.demand import Demand
from deployments.gateway.app import GatewayApp
from deployments.gateway.model_routers import now_ms
from deployments.gateway.untold_demand import carried_on
from deployments.state import APPLICATION

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
SEND_TIMEOUT_S = 10.0


class DemandReporter:
    """One gateway's: every second, and at once when a request begins to wait for a model that has no replica.

    While state is away one report is kept, to which what comes is added.
    """

    def __init__(self, app: GatewayApp) -> None:
        self._app = app
        self._untold: dict[str, Demand] = {}
        self._state: DeploymentHandle | None = None

    async def run(self) -> None:
        while True:
            await self._period_or_news()
            self._untold = carried_on(self._untold, self._app.demand(now_ms()))
            await self._send()

    async def _period_or_news(self) -> None:
        news = self._app.room.news
        try:
            async with asyncio.timeout(PERIOD_S):
                await news.wait()
        except TimeoutError:
            return
        finally:
            news.clear()

    async def _send(self) -> None:
        """A report whose answer does not come is withdrawn before it is sent again."""
        response = None
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                if self._state is None:
                    self._state = await asyncio.to_thread(serve.get_deployment_handle, "State", APPLICATION)
                response = self._report(self._state)
                await response
        except Exception as error:
            if response is not None:
                response.cancel()
            self._state = None
            logger.warning("state is away, demand is kept until it is back: %s", error)
        else:
            self._untold = {}

    def _report(self, state: DeploymentHandle) -> DeploymentResponse:
        return state.report_demand.remote(self._app.routers.gateway_id, self._untold)
