"""Which replicas of a model are running, as Ray Serve's controller publishes it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import RunningReplica

from deployments.gateway.replica_table import ReplicaInfo

EXISTENCE_POLL_S = 0.5
LINGER_S = 1.0

Listener = Callable[[Sequence[ReplicaInfo]], object]
_listeners: dict[str, Listener] = {}


def deliver(application: str, replicas: Sequence[RunningReplica]) -> None:
    """Hand what Serve published to whoever in this process watches `application`. Called on Ray's router thread."""
    listener = _listeners.get(application)
    if listener is not None:
        listener(running_replicas(replicas))


def running_replicas(replicas: Sequence[RunningReplica]) -> tuple[ReplicaInfo, ...]:
    """The replicas whose metadata carries an address, oldest name first."""
    return tuple(
        sorted(
            (
                replica_info(str(replica.replica_id.unique_id), replica.node_id or "", dict(replica.replica_metadata))
                for replica in replicas
                if replica.replica_metadata
            ),
            key=lambda info: info.replica_id,
        )
    )


def replica_info(replica_id: str, node_id: str, metadata: dict[str, Any]) -> ReplicaInfo:
    return ReplicaInfo(
        replica_id=replica_id,
        url=metadata["url"],
        token=metadata["token"],
        max_in_flight=metadata["max_in_flight"],
        max_model_len=metadata["max_model_len"],
        engine=metadata["engine"],
        kv_cache_tokens=metadata["kv_cache_tokens"],
        node_id=node_id,
        tensor_parallel_size=metadata.get("tensor_parallel_size", 1),
    )


class Membership:
    """Watches applications and reports their replicas on `loop`, in the order Serve published them.

    Serve drops a replica from its list for about 0.1 s while it applies a new `user_config` to it, and about 2 s before
    it asks a replica to stop. A replica that leaves the list is therefore reported for `LINGER_S` more.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_change: Callable[[str, Sequence[ReplicaInfo]], None]
    ) -> None:
        self._loop = loop
        self._on_change = on_change
        self._subscriptions: dict[str, asyncio.Task[None]] = {}
        self._published: dict[str, tuple[ReplicaInfo, ...]] = {}
        self._leaving: dict[str, dict[str, ReplicaInfo]] = {}

    def watch(self, applications: frozenset[str]) -> None:
        """Watch exactly these applications. One that does not exist yet is reported when it appears."""
        for gone in self._subscriptions.keys() - applications:
            self._subscriptions.pop(gone).cancel()
        for added in applications - self._subscriptions.keys():
            self._subscriptions[added] = self._loop.create_task(self._subscribe(added))

    async def close(self) -> None:
        tasks = tuple(self._subscriptions.values())
        self.watch(frozenset())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _subscribe(self, application: str) -> None:
        publish = partial(self._publish, application)
        _listeners[application] = lambda replicas: self._loop.call_soon_threadsafe(publish, replicas)
        handle: DeploymentHandle | None = None
        try:
            handle = await _existing_deployment(application)
            subscribed = await asyncio.to_thread(handle.options, method_name="announce")
            await asyncio.Event().wait()
            del subscribed
        finally:
            _listeners.pop(application, None)
            self._publish(application, ())
            if handle is not None:
                await handle.shutdown_async()

    def _publish(self, application: str, replicas: Sequence[ReplicaInfo]) -> None:
        known = {replica.replica_id: replica for replica in self._published.get(application, ())}
        self._published[application] = tuple(replicas)
        leaving = self._leaving.pop(application, {}) | known
        for replica in replicas:
            leaving.pop(replica.replica_id, None)
        if leaving:
            self._leaving[application] = leaving
            self._loop.call_later(LINGER_S, self._settle, application, leaving)
        self._on_change(application, (*replicas, *(replace(replica, is_leaving=True) for replica in leaving.values())))

    def _settle(self, application: str, leaving: dict[str, ReplicaInfo]) -> None:
        if self._leaving.get(application) is leaving:
            del self._leaving[application]
            self._on_change(application, self._published[application])


async def _existing_deployment(application: str) -> DeploymentHandle:
    while True:
        try:
            return await asyncio.to_thread(serve.get_deployment_handle, "Replica", application)
        except KeyError:
            await asyncio.sleep(EXISTENCE_POLL_S)
