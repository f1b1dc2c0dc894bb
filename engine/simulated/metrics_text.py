"""The simulated engine's `/metrics`, with vLLM's names so that whatever reads one reads the other."""

from itertools import accumulate

from engine.simulated.block_manager import BLOCK_TOKENS
from engine.simulated.core import TTFT_BUCKETS_S, Counters, SimulatedEngine


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
        "vllm:request_success": counters.requests,
    }
    lines = [f"# TYPE {name} gauge\n{name}{labels} {value}" for name, value in gauges.items()]
    lines += [f"# TYPE {name} counter\n{name}_total{labels} {value}" for name, value in totals.items()]
    lines.append(_cache_config(scheduler.blocks.capacity_blocks))
    lines.append("# TYPE vllm:iteration_tokens_total histogram")
    lines.append(f"vllm:iteration_tokens_total_count{labels} {counters.steps}")
    lines.append(f"vllm:iteration_tokens_total_sum{labels} {counters.step_tokens}")
    lines += _first_token_histogram(counters, model)
    return "\n".join(lines) + "\n"


def _cache_config(blocks: int) -> str:
    name = "vllm:cache_config_info"
    return f'# TYPE {name} gauge\n{name}{{block_size="{BLOCK_TOKENS}",engine="0",num_gpu_blocks="{blocks}"}} 1'


def _first_token_histogram(counters: Counters, model: str) -> list[str]:
    name, label = "vllm:time_to_first_token_seconds", f'engine="0",model_name="{model}"'
    below = list(accumulate(counters.first_tokens_by_bucket))
    lines = [f"# TYPE {name} histogram"]
    lines += [
        f'{name}_bucket{{{label},le="{bound}"}} {count}'
        for bound, count in zip((*TTFT_BUCKETS_S, "+Inf"), below, strict=True)
    ]
    return [*lines, f"{name}_count{{{label}}} {below[-1]}", f"{name}_sum{{{label}}} {counters.first_token_s}"]
