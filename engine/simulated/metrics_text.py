"""The simulated engine's `/metrics`, with vLLM's names so that whatever reads one reads the other."""

from engine.simulated.block_manager import BLOCK_TOKENS
from engine.simulated.core import SimulatedEngine


def metrics_text(engine: SimulatedEngine, model: str) -> str:
    """Prometheus text."""
    counters, scheduler = engine.counters, engine.scheduler
    labels = f'{{engine="0",model_name="{model}"}}'
    gauges = {
        "vllm:num_requests_running": len(scheduler.running),
        "vllm:num_requests_waiting": len(scheduler.waiting),
        "vllm:kv_cache_usage_perc": scheduler.blocks.used_blocks / scheduler.blocks.capacity_blocks,
    }
    totals = {
        "vllm:prompt_tokens": counters.prompt_tokens,
        "vllm:generation_tokens": counters.generation_tokens,
        "vllm:prefix_cache_queries": counters.prefix_queries,
        "vllm:prefix_cache_hits": counters.prefix_hits,
        "vllm:num_preemptions": scheduler.preemptions,
    }
    lines = [f"# TYPE {name} gauge\n{name}{labels} {value}" for name, value in gauges.items()]
    lines += [f"# TYPE {name} counter\n{name}_total{labels} {value}" for name, value in totals.items()]
    lines.append("# TYPE vllm:request_success counter")
    lines.append(f'vllm:request_success_total{{finished_reason="stop",{labels[1:-1]}}} {counters.requests}')
    lines.append(_cache_config(scheduler.blocks.capacity_blocks))
    lines.append("# TYPE vllm:iteration_tokens_total histogram")
    lines.append(f"vllm:iteration_tokens_total_count{labels} {counters.steps}")
    lines.append(f"vllm:iteration_tokens_total_sum{labels} {counters.step_tokens}")
    lines += engine.latencies.lines(labels[1:-1])
    return "\n".join(lines) + "\n"


def _cache_config(blocks: int) -> str:
    name = "vllm:cache_config_info"
    return f'# TYPE {name} gauge\n{name}{{block_size="{BLOCK_TOKENS}",engine="0",num_gpu_blocks="{blocks}"}} 1'
