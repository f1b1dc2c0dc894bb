"""The further nodes of an engine that spans several: on each, an actor that supervises vLLM's headless process."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import ray
from ray.exceptions import RayError

from deployments.raylet_watch import raylet_lost
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.failure import EngineFailed, Failure
from engine.launch import EngineLaunch, Rank
from engine.vllm_command import vllm_command
from engine.weights.errors import ModelStoreError
from engine.weights.source import parse_source
from engine.weights.store import ModelStore

MEMBERS_LOOK_PERIOD_S = 1.0
STOP_TIMEOUT_S = 10.0


class Follower:
    """One further node. Its engine ends with it, and Ray ends it with the replica that made it."""

    def __init__(self, identity: str, log_path: str) -> None:
        self._identity = identity
        self._log_path = Path(log_path)
        self._raylet_pid = os.getppid()

    async def materialise(self, source: str, store_folder: str) -> None:
        """Fetch the weights to this node.

        Raises:
            EngineFailed: they cannot be had.
        """
        try:
            await asyncio.to_thread(ModelStore(Path(store_folder)).materialise, parse_source(source))
        except ModelStoreError as error:
            raise EngineFailed(Failure("download_failed", f"on {self.address()}: {error}")) from error

    def address(self) -> str:
        """Where the other nodes reach this one."""
        return str(ray.util.get_node_ip_address())

    async def run(self, launch: EngineLaunch) -> Failure:
        """Start this node's part of the engine; return why, once it has ended."""
        self._engine = EngineProcess(vllm_command(launch, available_cores()), self._log_path, self._identity)
        watching = asyncio.create_task(self._end_with_the_raylet())
        while not self._engine.ended.is_set():
            self._engine.members()
            await asyncio.wait((asyncio.ensure_future(self._engine.ended.wait()),), timeout=MEMBERS_LOOK_PERIOD_S)
        watching.cancel()
        failure = self._engine.failure()
        return Failure(failure.cause, f"on {self.address()}: {failure.message}")

    async def stop(self) -> None:
        if hasattr(self, "_engine"):
            await self._engine.stop()

    async def kill(self) -> None:
        if hasattr(self, "_engine"):
            await self._engine.kill()

    async def _end_with_the_raylet(self) -> None:
        await raylet_lost(self._raylet_pid)
        await self._engine.kill()
        os._exit(1)


class Followers:
    """A replica's view of its further nodes: bundles 1 and up of its own placement group. None if it fits one node."""

    def __init__(self, nodes: int, replica_id: str, log_stem: str) -> None:
        group = ray.util.get_current_placement_group()
        self._actors = [
            ray.remote(Follower)
            .options(
                name=f"{replica_id}-node{index}",
                num_cpus=group.bundle_specs[index].get("CPU", 0),
                num_gpus=group.bundle_specs[index].get("GPU", 0),
                scheduling_strategy=ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group, index),
            )
            .remote(f"{replica_id}-node{index}", f"{log_stem}-node{index}.log")
            for index in range(1, nodes)
        ]
        self._runs: list[ray.ObjectRef[Failure]] = []

    async def materialise(self, source: str, store_folder: str) -> None:
        """Raises:
        EngineFailed: a node cannot have the weights, or is gone.
        """
        try:
            await asyncio.gather(*(actor.materialise.remote(source, store_folder) for actor in self._actors))
        except EngineFailed as error:
            raise EngineFailed(error.failure) from error
        except RayError as error:
            raise EngineFailed(lost(error)) from error

    async def start(self, launch: EngineLaunch) -> None:
        """Start ranks 1 and up of the engine that `launch` is rank 0 of."""
        if not self._actors:
            return
        assert launch.rank is not None
        addresses = await asyncio.gather(*(actor.address.remote() for actor in self._actors))
        self._runs = [
            actor.run.remote(replace(launch, rank=replace(launch.rank, rank=index, node_address=address)))
            for index, (actor, address) in enumerate(zip(self._actors, addresses, strict=True), start=1)
        ]

    async def failure(self) -> Failure:
        """Why the first of them ended; never returns where there are none."""
        runs = [asyncio.ensure_future(run) for run in self._runs]
        if not runs:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
        try:
            failure: Failure = done.pop().result()
        except RayError as error:
            return lost(error)
        return failure

    async def stop(self) -> None:
        """Ask each to stop; one that does not answer is ended by Ray with this replica."""
        await self._all("stop")

    async def kill(self) -> None:
        await self._all("kill")

    async def _all(self, method: str) -> None:
        calls = [asyncio.ensure_future(getattr(actor, method).remote()) for actor in self._actors]
        if calls:
            await asyncio.wait(calls, timeout=STOP_TIMEOUT_S)


def rank_zero(nodes: int, port: int) -> Rank | None:
    """The leader's rank, at this node's address; None if the engine does not span nodes."""
    if nodes == 1:
        return None
    here = str(ray.util.get_node_ip_address())
    return Rank(nodes=nodes, rank=0, master_address=here, master_port=port, node_address=here)


def lost(error: RayError) -> Failure:
    """A node, or the actor on it, is gone."""
    words = (str(error).strip() or type(error).__name__).splitlines()
    return Failure("node_lost", f"A further node of this engine is gone: {words[0]}")
