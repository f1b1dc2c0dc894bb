"""The command line of vLLM's own API server."""

import sys

from engine.arguments import command_line
from engine.cpu import thread_binding
from engine.launch import TOKEN_VARIABLE, Command, EngineLaunch, Rank

ALWAYS = {
    "middleware": "engine.guard.RouteGuard",
    "enable_prompt_tokens_details": True,
    "disable_fastapi_docs": True,
    "disable_uvicorn_access_log": True,
}
CPU_DEFAULTS = {"enforce_eager": True, "dtype": "float32"}


def vllm_command(launch: EngineLaunch, cores: tuple[int, ...]) -> Command:
    """The argument vector and environment for `launch`; the operator's `engine_args` win over our defaults.

    The module is used rather than the `vllm` script, which the CPU build's metadata breaks. On a CPU, eager mode starts
    in a quarter of the time that compilation takes, and float32 is the default: 5× faster than bfloat16 on AVX2, and on
    AMX, where bfloat16 is 2.3× faster, vLLM 0.32 answers wrongly in it (docs/design.md).
    """
    arguments = {
        "model": str(launch.model_path),
        "served_model_name": launch.model,
        "host": launch.host,
        "port": launch.port,
        "tensor_parallel_size": launch.tensor_parallel_size,
        "pipeline_parallel_size": launch.pipeline_parallel_size,
        "max_num_queued_reqs": launch.max_in_flight,
        "kv_cache_memory_bytes": launch.kv_cache_bytes,
        **ALWAYS,
        **(CPU_DEFAULTS if launch.device == "cpu" else {}),
        **launch.engine_args,
        **(_rank_arguments(launch.rank) if launch.rank else {}),
    }
    flags = [word for name, value in arguments.items() for word in command_line(name, value)]
    environment = {TOKEN_VARIABLE: launch.internal_token, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    if launch.device == "cpu":
        environment |= _cpu_environment(launch, cores)
    return Command((sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", *flags), environment)


def _cpu_environment(launch: EngineLaunch, cores: tuple[int, ...]) -> dict[str, str]:
    workers = launch.tensor_parallel_size * launch.pipeline_parallel_size
    return {"VLLM_CPU_OMP_THREADS_BIND": thread_binding(cores, workers)} if workers > 1 else {}


def _rank_arguments(rank: Rank) -> dict[str, object]:
    """A process of an engine that spans nodes. Not run on several nodes yet: see docs/design.md."""
    return {
        "distributed_executor_backend": "mp",
        "nnodes": rank.nodes,
        "node_rank": rank.rank,
        "master_addr": rank.master_address,
        "master_port": rank.master_port,
        "headless": rank.rank > 0,
    }
