"""The state deployment: one small replica that owns what outlives a process."""

import asyncio
import contextlib
import secrets
from pathlib import Path
from typing import Any

from deployments.state_store import DrainReport, FailureReport, ReplicaReport, StateStore

APPLICATION = "state"
WATCH_TIMEOUT_S = 20.0
REPORT_PERIOD_S = 5.0
SILENT_REPLICA_IS_LOST_S = 4 * REPORT_PERIOD_S


class State:
    """Model catalogue and start-up stages, with a version that gateways long-poll."""

    def __init__(self, path: str) -> None:
        self._store = StateStore(Path(path))
        self._epoch = secrets.token_hex(4)
        self._changes = 0
        self._changed = asyncio.Condition()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """`user_config["models"]` is the catalogue: `baryon apply` changes it without restarting anything."""
        self._store.replace_catalogue(user_config["models"])
        await self._publish()

    async def watch(self, known_version: str) -> dict[str, Any]:
        """The snapshot, as soon as its version differs from `known_version` or after `WATCH_TIMEOUT_S`.

        A version names this process, so a gateway that comes back after a restart catches up at once.
        """
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_TIMEOUT_S):
                    await self._changed.wait_for(lambda: self._version != known_version)
        return await self.snapshot()

    async def snapshot(self) -> dict[str, Any]:
        if self._store.record_lost_replicas(SILENT_REPLICA_IS_LOST_S):
            await self._publish()
        return {
            "version": self._version,
            "models": self._store.catalogue(),
            "replicas": self._store.replicas(),
            "failures": self._store.failures(),
            "drains": self._store.drains(),
        }

    async def report_replica(self, report: ReplicaReport) -> None:
        """Sent at each change of stage, and every `REPORT_PERIOD_S` as a sign of life."""
        if self._store.record_replica(report):
            await self._publish()

    async def report_failure(self, report: FailureReport) -> None:
        self._store.record_failure(report)
        await self._publish()

    async def report_drained(self, report: DrainReport) -> None:
        self._store.record_drain(report)
        await self._publish()

    async def report_stopped(self, replica_id: str) -> None:
        """Of one that was asked to end before it was ready."""
        self._store.forget_replica(replica_id)
        await self._publish()

    @property
    def _version(self) -> str:
        return f"{self._epoch}.{self._changes}"

    async def _publish(self) -> None:
        async with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def __del__(self) -> None:
        if hasattr(self, "_store"):
            self._store.close()
