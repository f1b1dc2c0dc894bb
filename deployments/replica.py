"""The engine replica: a Serve deployment per model whose actor supervises vLLM's own API server."""

import asyncio
import logging
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ray
from ray import serve

from deployments.stage_reporter import StageReporter
from deployments.state_store import ReplicaReport
from engine.engine_process import EngineProcess
from engine.failure import EngineFailed
from engine.launch import Device
from engine.probe import EngineProbe
from engine.weights.progress import Progress
from engine.weights.source import parse_source
from engine.weights.store import ModelStore

logger = logging.getLogger(__name__)

EXIT_ENGINE_LOST = 70
PORT_ATTEMPTS = 3
STOP_GRACE_S = 5.0
PROBE_PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """The part of a model's configuration that needs a new engine process when it changes."""

    name: str
    source: str
    engine: Literal["vllm", "simulated"]
    profile: str | None
    device: Device
    tensor_parallel_size: int
    pipeline_parallel_size: int
    max_in_flight: int
    start_timeout_s: float
    hang_timeout_s: float
    drain_timeout_s: float
    store_path: str
    log_folder: str
    engine_args: dict[str, Any] = field(default_factory=dict)


@serve.deployment(name="Replica")
class Replica:
    """Materialises the weights, starts the engine, says where it is, and gives up when the engine does.

    An engine that dies or hangs ends this process at once (exit code 70): Serve then starts a fresh replica without
    draining a corpse, and the cause is already with the state deployment.
    """

    async def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = ReplicaSettings(**settings)
        self._replica_id = serve.get_replica_context().replica_id.unique_id
        self._token = secrets.token_urlsafe(32)
        self._stages = StageReporter(self._first_report())
        try:
            self._engine, self._probe = await self._start_engine(await self._model_path())
        except EngineFailed as error:
            await self._stages.failed(error.failure.cause, error.failure.message)
            raise
        self._stages.enter("ready")
        self._watching = asyncio.create_task(self._give_up_with_the_engine())

    def record_replica_metadata(self) -> dict[str, Any]:
        """What gateways learn of this replica, once it is ready."""
        return {
            "url": self._probe.url,
            "token": self._token,
            "model": self._settings.name,
            "engine": self._settings.engine,
            "max_model_len": self._probe.max_model_len,
            "max_in_flight": self._settings.max_in_flight,
        }

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """SLO and limits are the gateways' affair; the engine keeps its process."""

    def check_health(self) -> None:
        """Serve's own check answers as long as this process does: the engine is watched without it (ray#54070)."""

    async def announce(self) -> dict[str, Any]:
        """The processes of this replica's engine, for `baryon status` and the process-tree tests."""
        return {"pid": os.getpid(), "members": [member.pid for member in self._engine.members()]}

    async def __del__(self) -> None:
        if not hasattr(self, "_engine"):
            return
        self._watching.cancel()
        self._stages.enter("drain")
        await self._drained()
        await self._engine.stop(STOP_GRACE_S)
        await self._stages.stopped()

    def _first_report(self) -> ReplicaReport:
        return ReplicaReport(
            replica_id=self._replica_id,
            model=self._settings.name,
            node_id=ray.get_runtime_context().get_node_id(),
            pid=os.getpid(),
            engine=self._settings.engine,
            stage="download",
            detail="",
            started_at_s=time.time(),
            stages={},
        )

    async def _model_path(self) -> Path:
        if self._settings.engine == "simulated":
            return Path(os.devnull)
        loop = asyncio.get_running_loop()

        def on_progress(progress: Progress) -> None:
            loop.call_soon_threadsafe(self._stages.enter, progress.stage, progress.note)

        store = ModelStore(Path(self._settings.store_path))
        return await asyncio.to_thread(store.materialise, parse_source(self._settings.source), on_progress)

    async def _start_engine(self, model_path: Path) -> tuple[EngineProcess, EngineProbe]:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                return await self._start_engine_once(model_path)
            except EngineFailed as error:
                if error.failure.cause != "port_taken" or attempt == PORT_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")
