"""State's side of the exporters: one on each node, whatever becomes of nodes and actors."""

import asyncio
import logging
from collections.abc import Collection

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from deployments.node_exporter import NodeExporter, Orders
from monitoring.exporter_app import Target

logger = logging.getLogger(__name__)

NAMESPACE = "baryon"
ORDER_WITHIN_S = 15.0


class ExporterFleet:
    """Exporters outlive state: one that starts anew finds them by their names."""

    def __init__(self) -> None:
        self._actors: dict[str, ActorHandle] = {}
        self._targets: dict[str, Target] = {}
        self._silent: set[str] = set()

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(self._targets[node] for node in sorted(self._targets))

    async def order(self, nodes: Collection[str], orders: Orders) -> None:
        """Tell all; start what is missing. Port 0 ends them."""
        wanted = frozenset(nodes) if orders.port else frozenset()
        for gone in (self._actors.keys() | self._targets.keys()) - wanted:
            self._targets.pop(gone, None)
            if gone in self._actors:
                ray.kill(self._actors.pop(gone))
        await asyncio.gather(*(self._tell(node, orders) for node in wanted))

    async def _tell(self, node: str, orders: Orders) -> None:
        try:
            async with asyncio.timeout(ORDER_WITHIN_S):
                if node not in self._actors:
                    self._actors[node] = await asyncio.to_thread(exporter_on, node)
                self._targets[node] = await self._actors[node].obey.remote(orders)
            self._silent.discard(node)
        except (RayError, OSError, TimeoutError) as error:
            self._actors.pop(node, None)
            level = logging.DEBUG if node in self._silent else logging.WARNING
            self._silent.add(node)
            logger.log(level, "the exporter of node %s does not answer: %s", node, str(error) or type(error).__name__)


def exporter_on(node: str) -> ActorHandle:
    """The one that is there, or a new one. Ray restarts it when it dies, for as long as the node is there."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    return (
        ray.remote(NodeExporter)
        .options(
            name=f"exporter-{node}",
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=100,
            scheduling_strategy=here,
        )
        .remote()
    )
