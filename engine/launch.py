"""What to start: one engine process tree, whichever engine it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Device = Literal["cpu", "cuda"]

TOKEN_VARIABLE = "BARYON_INTERNAL_TOKEN"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Rank:
    """This process's place in an engine that spans nodes (vLLM's `--nnodes`, `--node-rank`, `--master-addr`).

    Rank 0 serves HTTP; the others run workers only. `node_address` is where the other nodes reach this one.
    """

    nodes: int
    rank: int
    master_address: str
    master_port: int
    node_address: str


@dataclass(frozen=True, slots=True)
class EngineLaunch:
    """Everything a command line is made from.

    `engine_args` are vLLM's own flag names with underscores. `kv_cache_bytes` sizes the cache on a CPU; on a GPU vLLM
    sizes it from `gpu_memory_utilization`. `trace_endpoint`: where spans go, by OTLP over HTTP.
    """

    model: str
    model_path: Path
    device: Device
    host: str
    port: int
    internal_token: str = field(repr=False)
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_in_flight: int = 256
    kv_cache_bytes: int | None = None
    rank: Rank | None = None
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    trace_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """An argument vector, environment variables to add to the parent's, and how far it yields to others (nice(2))."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    niceness: int = 0
