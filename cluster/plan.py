"""Will it fit? Weights, KV cache, tensor parallelism against heads, placement; decided before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.config import ModelConfig
from cluster.placement import (
    Node,
    Placed,
    Refusal,
    largest_node_gpus,
    nodes_per_replica,
    place,
    replica_shape,
    workers_of,
)
from engine.launch import Device
from engine.memory_budget import GIB, NotEnoughMemory, kv_cache_bytes
from engine.weights.model_facts import DTYPE_BYTES, ModelFacts

GPU_UTILISATION = 0.9
GPU_RUNTIME_BYTES = int(3.5 * GIB)
CPU_BLOCK_TOKENS = 128
GPU_BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes one rank may use: of its GPU, or of the machine for a CPU engine (which all ranks share)."""

    device: Device
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """One model's answer. Sizes in bytes for one rank; tokens for one replica. `problems` empty: it fits."""

    model: str
    architecture: str
    device: Device
    dtype: str
    parameters: int
    weights_bytes_per_rank: int
    kv_bytes_per_token_per_rank: int
    kv_cache_bytes_per_rank: int
    kv_blocks: int
    kv_tokens: int
    max_model_len: int
    full_length_sequences: float
    tensor_parallel_size: int
    pipeline_parallel_size: int
    valid_tensor_parallel_sizes: list[int]
    replicas: int
    problems: list[str]


def plan_model(model: ModelConfig, facts: ModelFacts, memory: Memory) -> ModelPlan:
    """Sizes for one replica.

    A rank holds 1/(TP·PP) of the weights (embeddings are split too) and the KV heads and layers that are its own. On a
    GPU, vLLM gives the cache what `gpu_memory_utilization` leaves after the weights and about 3.5 GiB of runtime.
    """
    dtype = _dtype(model, facts, memory.device)
    ranks = workers_of(model)
    total = facts.parameters * DTYPE_BYTES.get(dtype, 2)
    if dtype == facts.dtype or "quantization" in model.engine_args:
        total = facts.weights_bytes
    weights = total // ranks
    kv_dtype_bytes = (
        1 if str(model.engine_args.get("kv_cache_dtype", "auto")).startswith("fp8") else DTYPE_BYTES.get(dtype, 2)
    )
    per_token = facts.kv_bytes_per_token(kv_dtype_bytes, model.tensor_parallel_size) // model.pipeline_parallel_size
    problems = _parallel_problems(model, facts)
    cache, problem = _cache_bytes(model, memory, weights, ranks)
    if problem:
        problems.append(problem)
    max_len = int(model.engine_args.get("max_model_len") or facts.max_position_embeddings)
    block_tokens = CPU_BLOCK_TOKENS if memory.device == "cpu" else GPU_BLOCK_TOKENS
    blocks = cache // (per_token * block_tokens)
    tokens = blocks * block_tokens
    if not problem and tokens < max_len:
        problems.append(
            f"the KV cache holds {tokens} tokens, less than one sequence of max_model_len {max_len}: "
            f"set engine_args.max_model_len to at most {tokens}, or raise tensor_parallel_size"
        )
    return ModelPlan(
        model=model.name,
        architecture=facts.architecture,
        device=memory.device,
        dtype=dtype,
        parameters=facts.parameters,
        weights_bytes_per_rank=weights,
        kv_bytes_per_token_per_rank=per_token,
        kv_cache_bytes_per_rank=cache,
        kv_blocks=blocks,
        kv_tokens=tokens,
        max_model_len=max_len,
        full_length_sequences=round(tokens / max_len, 2),
        tensor_parallel_size=model.tensor_parallel_size,
        pipeline_parallel_size=model.pipeline_parallel_size,
        valid_tensor_parallel_sizes=facts.valid_tensor_parallel_sizes(),
        replicas=model.replicas.min,
        problems=problems,
    )


def plan_placement(models: Sequence[tuple[ModelConfig, Device]], nodes: Sequence[Node]) -> list[Placed] | Refusal:
    """`replicas.min` of every model on these nodes."""
    largest = largest_node_gpus(nodes)
    shapes = [
        replica_shape(model, device, nodes_per_replica(model, device, largest))
        for model, device in models
        for _ in range(model.replicas.min)
    ]
    return place(shapes, nodes)


def _dtype(model: ModelConfig, facts: ModelFacts, device: Device) -> str:
    asked = str(model.engine_args.get("dtype", "auto"))
    if asked not in ("auto", "half", "float"):
        return asked
    if device == "cpu" or asked == "float":
        return "float32"
    return "float16" if asked == "half" else "bfloat16" if facts.dtype == "float32" else facts.dtype


def _parallel_problems(model: ModelConfig, facts: ModelFacts) -> list[str]:
    problems = []
    valid = facts.valid_tensor_parallel_sizes()
    if model.tensor_parallel_size not in valid:
        problems.append(
            f"tensor_parallel_size {model.tensor_parallel_size} does not divide {facts.num_attention_heads} attention "
            f"heads and {facts.num_kv_heads} KV heads; valid: {', '.join(map(str, valid))}"
        )
    if model.pipeline_parallel_size > facts.num_layers:
        problems.append(f"pipeline_parallel_size {model.pipeline_parallel_size} exceeds {facts.num_layers} layers")
    return problems


def _cache_bytes(model: ModelConfig, memory: Memory, weights: int, ranks: int) -> tuple[int, str | None]:
    if memory.device == "cpu":
        if model.kv_cache_gib is not None:
            return int(model.kv_cache_gib * GIB), None
        try:
            return kv_cache_bytes(memory.bytes, weights * ranks), None
        except NotEnoughMemory as error:
            return 0, str(error)
    share = float(model.engine_args.get("gpu_memory_utilization", GPU_UTILISATION))
    cache = int(memory.bytes * share) - weights - GPU_RUNTIME_BYTES
    if cache > 0:
        return cache, None
    return 0, (
        f"the weights take {weights / GIB:.1f} GiB a GPU and the runtime {GPU_RUNTIME_BYTES / GIB:.1f} GiB, and "
        f"{memory.bytes * share / GIB:.1f} GiB may be used: raise tensor_parallel_size or choose a larger GPU"
    )
