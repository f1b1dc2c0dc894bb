"""Tells state what was used, in numbered batches: twice a second, one at a time, each until state has confirmed it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from deployments.gateway.usage_counts import Row
from deployments.gateway.usage_tally import UsageTally

logger = logging.getLogger(__name__)

PERIOD_S = 0.5
LAST_WORD_S = 5.0

Tell = Callable[[str, int, Sequence[Row]], Awaitable[None]]


class UsageReporter:
    """One gateway's. `tell` raises when state has not confirmed it: then the same batch is told again, under the same
    number, because state may know it all the same. What comes meanwhile is added up, so a long absence takes no more
    memory than the tenants, models and days there are.
    """

    def __init__(self, gateway_id: str, tally: UsageTally, tell: Tell, period_s: float = PERIOD_S) -> None:
        self._gateway_id = gateway_id
        self._tally = tally
        self._tell = tell
        self._period_s = period_s
        self._batch = 0
        self._untold: Sequence[Row] = ()
        self._telling = asyncio.Lock()
        self._logged = False

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            await self._tell_news()

    async def finish(self) -> bool:
        """The last word of a gateway whose requests have ended; whether state knows all."""
        try:
            async with asyncio.timeout(LAST_WORD_S):
                while not await self._tell_news():  # noqa: ASYNC110
                    await asyncio.sleep(self._period_s)
        except TimeoutError:
            logger.error("state was not told of the last usage: %s", self._untold)
            return False
        return True

    async def _tell_news(self) -> bool:
        """Whether state knows all there was. A batch keeps its number and content until it is confirmed."""
        async with self._telling:
            for _ in range(2):
                if not self._untold:
                    self._untold = self._tally.take()
                    if not self._untold:
                        return True
                    self._batch += 1
                try:
                    await self._tell(self._gateway_id, self._batch, self._untold)
                except Exception as error:
                    if not self._logged:
                        logger.warning("state was not told of usage, which is kept until it is: %r", error)
                    self._logged = True
                    return False
                self._untold, self._logged = (), False
            return True
