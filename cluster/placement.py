"""Which node holds which replica, decided before anything starts.

A replica of tensor-parallel degree n stays inside one node when one can hold it; Ray then places it by `num_gpus`. One
that is larger than any node spans several by placement-group bundles, whole pipeline stages to a node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.config import ModelConfig
from engine.launch import Device

CPUS_PER_WORKER = 0.25
CPUS_BESIDE_GPUS = 1.0


@dataclass(frozen=True, slots=True)
class Node:
    """What is free on a node."""

    name: str
    gpus: float
    cpus: float


@dataclass(frozen=True, slots=True)
class Shape:
    """What one replica needs: `bundles` of (GPUs, CPUs), each inside one node; several only if it spans nodes."""

    model: str
    bundles: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """One replica and the node of each of its bundles."""

    model: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the replicas cannot all be placed, and what would help."""

    message: str


def largest_node_gpus(nodes: Sequence[Node]) -> float:
    return max((node.gpus for node in nodes), default=0.0)


def workers_of(model: ModelConfig) -> int:
    return model.tensor_parallel_size * model.pipeline_parallel_size


def replica_cpus(model: ModelConfig, device: Device) -> float:
    """CPUs to reserve on each node. For a CPU engine a fraction: it uses what there is, and laptops have two cores."""
    if model.cpus_per_replica is not None:
        return model.cpus_per_replica
    return CPUS_BESIDE_GPUS if device == "cuda" else CPUS_PER_WORKER * workers_of(model)


def nodes_per_replica(model: ModelConfig, device: Device, largest_node_gpus: float) -> int:
    """As configured; else one if a node can hold all workers, or the fewest that share them evenly.

    A simulated engine is always whole. On CPUs nothing says how many workers a node should hold, so it is one too.
    vLLM wants the same number of workers on each node. Whole tensor-parallel groups stay inside a node if one fits.
    """
    if model.nodes_per_replica is not None:
        return model.nodes_per_replica
    workers = workers_of(model)
    if device == "cpu" or model.engine == "simulated" or workers <= largest_node_gpus or largest_node_gpus < 1:
        return 1
    unit = model.tensor_parallel_size if model.tensor_parallel_size <= largest_node_gpus else 1
    shares = range(unit, int(largest_node_gpus) + 1, unit)
    return workers // max(share for share in shares if workers % share == 0)


def replica_shape(model: ModelConfig, device: Device, nodes: int) -> Shape:
    """One bundle for each node: its share of the workers' GPUs, and as many CPUs as any other node gets."""
    gpus = workers_of(model) / nodes if device == "cuda" else 0.0
    return Shape(model.name, ((gpus, replica_cpus(model, device)),) * nodes)


def replica_resources(model: ModelConfig, device: Device, nodes: int) -> dict[str, Any]:
    """Serve's options for a replica: GPUs on the actor itself, and bundles only if it spans nodes.

    An actor without `num_gpus` would see every GPU even inside a bundle that reserves some.
    """
    gpus, cpus = replica_shape(model, device, nodes).bundles[0]
    options = {"num_cpus": cpus, **({"num_gpus": gpus} if gpus else {})}
    if nodes == 1:
        return {"ray_actor_options": options}
    bundle = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    return {
        "ray_actor_options": options,
        "placement_group_bundles": [bundle] * nodes,
        "placement_group_strategy": "STRICT_SPREAD",
    }


def place(shapes: Sequence[Shape], nodes: Sequence[Node]) -> list[Placed] | Refusal:
    """Largest first, each on the node with the most GPUs (then CPUs) free, so that replicas spread.

    When spreading leaves no room for a later one, the fullest node that fits is tried instead; what neither order can
    place is refused with the shape that does not fit.
    """
    order = sorted(range(len(shapes)), key=lambda index: -sum(gpus for gpus, _ in shapes[index].bundles))
    for spread in (True, False):
        placed = _place_in_order([shapes[index] for index in order], nodes, spread)
        if not isinstance(placed, Refusal):
            by_index = dict(zip(order, placed, strict=True))
            return [by_index[index] for index in range(len(shapes))]
    assert isinstance(placed, Refusal)
    return placed


def _place_in_order(shapes: Sequence[Shape], nodes: Sequence[Node], spread: bool) -> list[Placed] | Refusal:
    free = {node.name: node for node in nodes}
    placed: list[Placed] = []
    for shape in shapes:
        names: list[str] = []
        for gpus, cpus in shape.bundles:
            fitting = [n for n in free.values() if n.gpus >= gpus and n.cpus >= cpus and n.name not in names]
            if not fitting:
                return Refusal(_why(shape, nodes, placed))
            node = (max if spread else min)(fitting, key=lambda n: (n.gpus, n.cpus))
            free[node.name] = replace(node, gpus=node.gpus - gpus, cpus=node.cpus - cpus)
            names.append(node.name)
        placed.append(Placed(shape.model, tuple(names)))
    return placed


def _why(shape: Shape, nodes: Sequence[Node], placed: Sequence[Placed]) -> str:
    gpus, cpus = shape.bundles[0]
    need = f"{gpus:g} GPUs and {cpus:g} CPUs on one node" if gpus else f"{cpus:g} CPUs on one node"
    if len(shape.bundles) > 1:
        need = f"{len(shape.bundles)} nodes with {gpus:g} GPUs and {cpus:g} CPUs each"
    have = ", ".join(f"{node.name}: {node.gpus:g} GPUs, {node.cpus:g} CPUs" for node in nodes) or "no nodes"
    earlier = sum(1 for one in placed if one.model == shape.model)
    before = f" after {len(placed)} replicas were placed ({earlier} of this model)" if placed else ""
    return (
        f"a replica of '{shape.model}' needs {need}, and no node has that free{before}. The cluster has {have}. "
        "Lower tensor_parallel_size or replicas.min, set cpus_per_replica, or add nodes."
    )
