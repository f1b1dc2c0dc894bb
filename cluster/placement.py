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


def workers_of(model: ModelConfig) -> int:
    return model.tensor_parallel_size * model.pipeline_parallel_size


def replica_cpus(model: ModelConfig, device: Device) -> float:
    """CPUs to reserve. On a CPU engine a small fraction: the engine uses what there is, and laptops have two cores."""
    if model.cpus_per_replica is not None:
        return model.cpus_per_replica
    return CPUS_BESIDE_GPUS if device == "cuda" else CPUS_PER_WORKER * workers_of(model)


def replica_shape(model: ModelConfig, device: Device, largest_node_gpus: float) -> Shape:
    """One bundle if a node can hold all workers; else one per pipeline stage, or one per node's worth of GPUs."""
    cpus = replica_cpus(model, device)
    if device == "cpu":
        return Shape(model.name, ((0.0, cpus),))
    workers = workers_of(model)
    if workers <= largest_node_gpus or largest_node_gpus < 1:
        return Shape(model.name, ((float(workers), cpus),))
    per_node = model.tensor_parallel_size if model.tensor_parallel_size <= largest_node_gpus else int(largest_node_gpus)
    count, rest = divmod(workers, per_node)
    return Shape(model.name, ((float(per_node), cpus),) * (count + bool(rest)))


def replica_resources(model: ModelConfig, device: Device) -> dict[str, Any]:
    """Serve's options for a replica inside one node: GPUs on the actor itself, no bundles.

    An actor without `num_gpus` would see every GPU even inside a bundle that reserves some.
    """
    options: dict[str, Any] = {"num_cpus": replica_cpus(model, device)}
    if device == "cuda":
        options["num_gpus"] = workers_of(model)
    return {"ray_actor_options": options}


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
