"""What a gateway's admin port asks of the state deployment."""

from typing import Any

from deployments.gateway_registry import GatewayReport, Told
from deployments.state_calls import StateCalls

TIMEOUT_S = 3.0
AN_HOURS_DECISIONS = 720
CHANGES = 50


class AdminCalls:
    def __init__(self, state: StateCalls) -> None:
        self._state = state

    async def report(self, me: GatewayReport) -> Told:
        told: Told = await self._state.call("report_gateway", me, within_s=TIMEOUT_S)
        return told

    async def forget(self, gateway_id: str) -> None:
        await self._state.call("forget_gateway", gateway_id, within_s=TIMEOUT_S)

    async def decisions(self, model: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The last hour's, and those that changed a count, newest first."""
        latest = await self._state.call("decisions", model, AN_HOURS_DECISIONS, within_s=TIMEOUT_S)
        changes = await self._state.call("decisions", model, CHANGES, True, within_s=TIMEOUT_S)
        return latest, changes
