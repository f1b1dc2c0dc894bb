"""Tells state what was used of limits, and brings back what may be used: one call for all accounts."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from deployments.gateway.tenants.lease import Reply, Report
from deployments.gateway.tenants.spending import Spending

logger = logging.getLogger(__name__)

PERIOD_S = 0.25
HEARTBEAT_S = 1.0
AT_LEAST_BETWEEN_S = 0.02
ANSWER_TIMEOUT_S = 0.6

Lend = Callable[[Report], Awaitable[Reply]]


class Borrower:
    """One gateway's: four times a second where something has changed, every second otherwise, and at once when a
    request waits. Silent until a tenant has limits. `lend` raises when state is away.
    """

    def __init__(self, spending: Spending, lend: Lend) -> None:
        self._spending = spending
        self._lend = lend
        self._state_is_away = False

    async def run(self) -> None:
        await self._spending.used.wait()
        beat_s = 0.0
        while True:
            now_s = self._spending.moment().now_s
            is_heartbeat = now_s - beat_s >= HEARTBEAT_S
            beat_s = now_s if is_heartbeat else beat_s
            try:
                report = self._spending.report(is_heartbeat=is_heartbeat)
                if report is not None:
                    await self._exchange(report)
            except Exception:
                logger.exception("limits were not carried to state this time")
            await asyncio.sleep(AT_LEAST_BETWEEN_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await self._spending.wanted.wait()

    async def _exchange(self, report: Report) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reply = await self._lend(report)
        except Exception as error:
            if not self._state_is_away:
                logger.warning("state is away: limits go by what was lent, and shares of what was left: %r", error)
            self._state_is_away = True
            self._spending.went_unanswered(report)
        else:
            self._state_is_away = False
            self._spending.adopt(report, reply)
