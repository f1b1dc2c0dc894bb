"""Tells the state deployment what stage a replica is in, without ever holding the replica up."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.state import APPLICATION, REPORT_PERIOD_S
from deployments.state_store import DrainReport, FailureReport, ReplicaReport

logger = logging.getLogger(__name__)

SEND_TIMEOUT_S = 10.0


class StageReporter:
    """Sends the newest report at each change and as a sign of life; while state is away only the newest is kept."""

    def __init__(self, first: ReplicaReport, now_s: Callable[[], float] = time.time) -> None:
        self._report = first
        self._now_s = now_s
        self._stage_began_s = now_s()
        self._news = asyncio.Event()
        self._state: DeploymentHandle | None = None
        self._task = asyncio.create_task(self._send_forever())

    @property
    def stage(self) -> str:
        return self._report.stage

    def enter(self, stage: str, detail: str = "") -> None:
        """Record the stage; staying in the same one only changes the detail."""
        if stage != self._report.stage:
            spent_s = self._now_s() - self._stage_began_s
            stages = {**self._report.stages, self._report.stage: round(spent_s, 3)}
            self._report = replace(self._report, stages=stages)
            self._stage_began_s = self._now_s()
            logger.info("stage %s after %.1f s of %s", stage, spent_s, self._report.stage)
        self._report = replace(self._report, stage=stage, detail=detail)
        self._news.set()

    def learned(self, kv_cache_tokens: int | None) -> None:
        """What the engine has told of itself goes out with the next report."""
        self._report = replace(self._report, kv_cache_tokens=kv_cache_tokens)

    async def failed(self, cause: str, message: str) -> None:
        """Report why this replica gives up, waiting for state at most `SEND_TIMEOUT_S`."""
        self._task.cancel()
        report = FailureReport(self._report.replica_id, self._report.model, cause, message)
        await self._send("report_failure", report)

    async def drained(self, waited_s: float, cut_requests: int) -> None:
        """The last word of a replica that was asked to go."""
        self._task.cancel()
        report = DrainReport(self._report.replica_id, self._report.model, round(waited_s, 3), cut_requests)
        await self._send("report_drained", report)

    async def stopped(self) -> None:
        self._task.cancel()
        await self._send("report_stopped", self._report.replica_id)

    async def _send_forever(self) -> None:
        while True:
            self._news.clear()
            await self._send("report_replica", self._report)
            try:
                async with asyncio.timeout(REPORT_PERIOD_S):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _send(self, method: str, argument: object) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                if self._state is None:
                    self._state = await asyncio.to_thread(serve.get_deployment_handle, "State", APPLICATION)
                await getattr(self._state, method).remote(argument)
        except Exception as error:
            logger.warning("state is away, %s not delivered: %s", method, error)
