"""The engine replica: a Serve deployment per model whose actor supervises vLLM's own API server."""

import asyncio
import logging
import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import ray
from ray import serve

from deployments.stage_reporter import StageReporter
from deployments.state_store import ReplicaReport
from engine.engine_process import EngineProcess
from engine.failure import EngineFailed
from engine.health import HealthLimits
from engine.health_watch import HealthWatch
from engine.launch import Command, Device, EngineLaunch
from engine.probe import EngineProbe
from engine.simulated.command import simulated_command
from engine.vllm_command import vllm_command
from engine.weights.progress import Progress
from engine.weights.source import parse_source
from engine.weights.store import ModelStore

logger = logging.getLogger(__name__)

EXIT_ENGINE_LOST = 70
PORT_ATTEMPTS = 3
STOP_GRACE_S = 5.0


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
    start_timeout_s: float
    hang_timeout_s: float
    drain_timeout_s: float
    max_in_flight: int
    store_path: str
    log_path: str
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
            await self._start()
        except EngineFailed as error:
            await self._stages.failed(error.failure.cause, error.failure.message)
            raise
        self._watch = asyncio.create_task(self._give_up_with_the_engine())
