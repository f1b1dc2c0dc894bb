"""The command line of vLLM's own API server."""

import os
import sys
import tempfile
from urllib.parse import quote

from engine.arguments import command_line
from engine.cpu import thread_binding
from engine.launch import TOKEN_VARIABLE, Command, EngineLaunch, Rank

ALWAYS = {
    "middleware": "engine.guard.RouteGuard",
    "enable_prompt_tokens_details": True,
    "enable_per_request_metrics": True,
    "enable_scale_out": True,
    "disable_fastapi_docs": True,
    "disable_uvicorn_access_log": True,
}
CPU_NICENESS = 10
CPU_EAGER: dict[str, object] = {"enforce_eager": True}
CPU_PIPELINE: dict[str, object] = {"compilation_config": {"backend": "eager"}}


def vllm_command(launch: EngineLaunch, cores: tuple[int, ...]) -> Command:
    """The argument vector and environment for `launch`; the operator's `engine_args` win over our defaults.

    On a CPU the engine yields to gateways and Ray's own processes: its workers spin on every core between steps.
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
        **(_cpu_defaults(launch) if launch.device == "cpu" else {}),
        **({"otlp_traces_endpoint": launch.trace_endpoint} if launch.trace_endpoint else {}),
        **launch.engine_args,
        **(_rank_arguments(launch.rank) if launch.rank else {}),
    }
    flags = [word for name, value in arguments.items() for word in command_line(name, value)]
    module: tuple[str, ...] = ("vllm.entrypoints.openai.api_server",)
    environment = {
        TOKEN_VARIABLE: launch.internal_token,
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": compile_cache(),
    }
    if launch.trace_endpoint:
        environment |= _trace_environment(launch)
    if launch.device == "cpu":
        environment |= _cpu_environment(launch, cores)
    if launch.rank is not None:
        environment["VLLM_HOST_IP"] = launch.rank.node_address
        if launch.rank.rank > 0:
            module = ("engine.vllm_cli", "serve", "--headless")
    niceness = CPU_NICENESS if launch.device == "cpu" else 0
    return Command((sys.executable, "-P", "-m", *module, *flags), environment, niceness)


def compile_cache() -> str:
    """Outside the engine's own temporary folder, so that a second start compiles nothing again."""
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}")


def _cpu_defaults(launch: EngineLaunch) -> dict[str, object]:
    """vLLM 0.32 gives a later pipeline stage its input buffers only while it warms up, which it skips in eager mode."""
    return {"dtype": "float32", **(CPU_PIPELINE if launch.pipeline_parallel_size > 1 else CPU_EAGER)}


def _trace_environment(launch: EngineLaunch) -> dict[str, str]:
    """vLLM speaks gRPC otherwise. It joins the traces that gateways sample and begins none: a canary is no request."""
    return {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_SERVICE_NAME": "baryon-engine",
        "OTEL_RESOURCE_ATTRIBUTES": f"baryon.model={quote(launch.model, safe='')}",
    }


def _cpu_environment(launch: EngineLaunch, cores: tuple[int, ...]) -> dict[str, str]:
    workers = launch.tensor_parallel_size * launch.pipeline_parallel_size // (launch.rank.nodes if launch.rank else 1)
    return {"VLLM_CPU_OMP_THREADS_BIND": thread_binding(cores, workers)} if workers > 1 else {}


def _rank_arguments(rank: Rank) -> dict[str, object]:
    """A process of an engine that spans nodes."""
    return {
        "distributed_executor_backend": "mp",
        "nnodes": rank.nodes,
        "node_rank": rank.rank,
        "master_addr": rank.master_address,
        "master_port": rank.master_port,
    }
