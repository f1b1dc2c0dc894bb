"""The engine replica: a Serve deployment per model whose actor supervises vLLM's own API server."""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import ray
from ray import serve

from deployments.follower import Followers, rank_zero
from deployments.node_address import address_here
from deployments.raylet_watch import raylet_lost
from deployments.serve_log import join_serves_log
from deployments.stage_reporter import StageReporter
from deployments.state_store import ReplicaReport
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.failure import EngineFailed, Failure
from engine.health import HealthLimits
from engine.health_watch import failure_of
from engine.launch import Command, Device, EngineLaunch
from engine.memory_budget import GIB, NotEnoughMemory, available_memory_bytes, kv_cache_bytes
from engine.probe import EngineProbe
from engine.simulated.command import simulated_command
from engine.vllm_command import vllm_command
from engine.weights.errors import ModelStoreError
from engine.weights.model_facts import ModelFactsError, read_model_facts
from engine.weights.progress import Progress
from engine.weights.source import parse_source
from engine.weights.store import ModelStore

logger = logging.getLogger(__name__)

EXIT_ENGINE_LOST = 70
EXIT_NODE_LOST = 71
PORT_ATTEMPTS = 3
DRAIN_POLL_S = 0.2
WARM_UP_TIMEOUT_S = 300.0


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
    nodes_per_replica: int
    max_in_flight: int
    kv_cache_gib: float | None
    start_timeout_s: float
    host: str
    store_folder: str
    log_folder: str
    engine_args: dict[str, Any] = field(default_factory=dict)
    trace_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """The part that changes in place. `drain_timeout_s` bounds how long running requests may finish."""

    hang_timeout_s: float
    drain_timeout_s: float


class Replica:
    """Materialises the weights, starts the engine, says where it is, and gives up when the engine does.

    An engine that dies or hangs ends this process at once (exit code 70): Serve then starts a fresh replica without
    draining a corpse, and the cause is already with the state deployment.
    """

    async def __init__(self, settings: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        join_serves_log()
        given = ReplicaSettings(**settings)
        self._settings = replace(given, host=address_here(given.host))
        self._replica_id = serve.get_replica_context().replica_id.unique_id
        self._token = secrets.token_urlsafe(32)
        self._stages = StageReporter(self._first_report())
        self._log_stem = str(
            Path(self._settings.log_folder) / f"{self._settings.name.replace('/', '--')}-{self._replica_id}"
        )
        self._followers = Followers(self._settings.nodes_per_replica, self._replica_id, self._log_stem)
        try:
            folder, _ = await asyncio.gather(
                self._model_folder(),
                self._followers.materialise(self._settings.source, self._settings.store_folder),
            )
            await self._start_engine(folder)
        except EngineFailed as error:
            await self._stages.failed(error.failure.cause, error.failure.message)
            raise
        self._limits = ReplicaLimits(hang_timeout_s=120.0, drain_timeout_s=60.0)
        self._stages.enter("ready")
        self._watching = asyncio.gather(self._give_up_with_the_engine(), self._give_up_with_the_raylet(os.getppid()))

    def record_replica_metadata(self) -> dict[str, Any]:
        """What gateways learn of this replica, once it is ready."""
        return {
            "url": self._probe.url,
            "token": self._token,
            "model": self._settings.name,
            "engine": self._settings.engine,
            "max_model_len": self._max_model_len,
            "max_in_flight": self._settings.max_in_flight,
            "kv_cache_tokens": self._kv_cache_tokens,
            "tensor_parallel_size": self._settings.tensor_parallel_size,
        }

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Limits change in place; the SLO is the gateways' affair. The engine keeps its process."""
        self._limits = ReplicaLimits(user_config["hang_timeout_s"], user_config["drain_timeout_s"])

    def check_health(self) -> None:
        """Serve's own check answers as long as this process does: the engine is watched without it (ray#54070)."""

    async def announce(self) -> dict[str, Any]:
        """This replica's processes, for `baryon status`."""
        return {"pid": os.getpid(), "members": [member.pid for member in self._engine.members()]}

    async def __del__(self) -> None:
        if not hasattr(self, "_stages"):
            return
        if not hasattr(self, "_watching"):
            await self._stages.stopped()
            return
        self._watching.cancel()
        began_s = time.monotonic()
        cut_requests = await self._drain(began_s + self._limits.drain_timeout_s)
        waited_s = time.monotonic() - began_s
        await asyncio.gather(self._engine.stop(), self._followers.stop())
        await self._stages.drained(waited_s, cut_requests)

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

    async def _model_folder(self) -> Path:
        if self._settings.engine == "simulated":
            return Path(os.devnull)
        loop = asyncio.get_running_loop()

        def on_progress(progress: Progress) -> None:
            loop.call_soon_threadsafe(self._stages.enter, progress.stage, progress.note)

        store = ModelStore(Path(self._settings.store_folder))
        try:
            return await asyncio.to_thread(store.materialise, parse_source(self._settings.source), on_progress)
        except ModelStoreError as error:
            raise EngineFailed(Failure("download_failed", str(error))) from error

    async def _start_engine(self, folder: Path) -> None:
        """Start it on a free port, once more if somebody takes that port in between, until it has made a token."""
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            launch = self._launch(folder)
            self._stages.enter("load", f"starting {self._settings.engine} on port {launch.port}")
            self._probe = EngineProbe(launch)
            self._engine = EngineProcess(self._command(launch), Path(f"{self._log_stem}.log"), self._replica_id)
            try:
                await self._followers.start(launch)
                await self._unless_a_follower_fails(self._become_ready())
                return
            except EngineFailed as error:
                await asyncio.gather(self._engine.kill(), self._followers.kill())
                await self._probe.close()
                if error.failure.cause != "port_taken" or not attempts_left:
                    raise

    async def _unless_a_follower_fails(self, step: Coroutine[Any, Any, None]) -> None:
        """A node that is lost leaves the others waiting for it, without an error of their own."""
        running, lost = asyncio.ensure_future(step), asyncio.ensure_future(self._followers.failure())
        await asyncio.wait((running, lost), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            lost.cancel()
            return running.result()
        running.cancel()
        raise EngineFailed(lost.result())

    async def _become_ready(self) -> None:
        await self._probe.wait_ready(self._engine, self._settings.start_timeout_s)
        await self._warm_up()

    async def _warm_up(self) -> None:
        self._stages.enter("warm_up", "first token")
        self._max_model_len = await self._probe.max_model_len()
        self._kv_cache_tokens = await self._probe.kv_cache_tokens()
        self._stages.learned(self._kv_cache_tokens)
        if not await self._probe.canary(WARM_UP_TIMEOUT_S):
            if self._engine.ended.is_set():
                raise EngineFailed(self._engine.failure())
            raise EngineFailed(Failure("hung", f"The engine made no first token in {WARM_UP_TIMEOUT_S:.0f} s."))

    def _launch(self, folder: Path) -> EngineLaunch:
        settings = self._settings
        return EngineLaunch(
            model=settings.name,
            model_path=folder,
            device=settings.device,
            host=settings.host,
            port=free_port(settings.host),
            internal_token=self._token,
            tensor_parallel_size=settings.tensor_parallel_size,
            pipeline_parallel_size=settings.pipeline_parallel_size,
            max_in_flight=settings.max_in_flight,
            kv_cache_bytes=self._kv_cache_bytes(folder),
            rank=rank_zero(settings.nodes_per_replica, free_port(settings.host)),
            engine_args=settings.engine_args,
            trace_endpoint=settings.trace_endpoint,
        )

    def _kv_cache_bytes(self, folder: Path) -> int | None:
        if self._settings.engine == "simulated" or self._settings.device == "cuda":
            return None
        if self._settings.kv_cache_gib is not None:
            return int(self._settings.kv_cache_gib * GIB)
        try:
            return kv_cache_bytes(available_memory_bytes(), read_model_facts(folder).weights_bytes)
        except NotEnoughMemory as error:
            raise EngineFailed(Failure("out_of_memory", str(error))) from error
        except ModelFactsError as error:
            raise EngineFailed(Failure("bad_weights", str(error))) from error

    def _command(self, launch: EngineLaunch) -> Command:
        if self._settings.engine == "simulated":
            assert self._settings.profile is not None
            return simulated_command(launch, self._settings.profile)
        return vllm_command(launch, available_cores())

    async def _drain(self, deadline_s: float) -> int:
        """Refuse what is new, let what runs in the engine finish; how many requests are left at the deadline.

        Serve took this replica off its list 2 s ago. What a gateway that has not heard of it sends now is refused
        before its first byte, and asked of another replica.
        """
        left = 0
        try:
            left = await self._probe.drain()
            self._stages.enter("drain", f"{left} requests to finish" if left else "")
            while left and time.monotonic() < deadline_s:
                await asyncio.sleep(DRAIN_POLL_S)
                left = await self._probe.in_flight()
        except Exception as error:
            logger.warning("drain cut short, the engine does not answer: %s", error)
        if left:
            logger.warning("%d requests are cut: they did not finish in %g s", left, self._limits.drain_timeout_s)
        return left

    async def _give_up_with_the_engine(self) -> None:
        of_leader = failure_of(self._engine, self._probe, lambda: HealthLimits(self._limits.hang_timeout_s))
        watches = [asyncio.ensure_future(of_leader), asyncio.ensure_future(self._followers.failure())]
        done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        failure = done.pop().result()
        logger.error("engine lost: %s: %s", failure.cause, failure.message)
        await asyncio.gather(self._engine.kill(), self._followers.kill())
        await self._stages.failed(failure.cause, failure.message)
        os._exit(EXIT_ENGINE_LOST)

    async def _give_up_with_the_raylet(self, raylet_pid: int) -> None:
        await raylet_lost(raylet_pid)
        logger.error("the raylet is gone, and this node with it")
        await self._engine.kill()
        os._exit(EXIT_NODE_LOST)


def free_port(host: str) -> int:
    """A port that nobody listens on now; whoever binds it first has it."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
