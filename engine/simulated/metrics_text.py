"""The simulated engine's `/metrics`, with vLLM's names so that whatever reads one reads the other."""

from engine.simulated.block_manager import BLOCK_TOKENS
from engine.simulated.core import SimulatedEngine
from engine.simulated.timings import Timings


def metrics_text(engine: SimulatedEngine, model: str) -> str:
    """Prometheus text."""
    counters, scheduler = engine.counters, engine.scheduler
    labels = f'engine="0",model_name="{model}"'
    gauges = {
        "vllm:num_requests_running": len(scheduler.running),
        "vllm:num_requests_waiting": len(scheduler.waiting),
        "vllm:kv_cache_usage_perc": scheduler.blocks.used_blocks / scheduler.blocks.capacity_blocks,
    }
    totals = {
        "vllm:prompt_tokens_total": counters.prompt_tokens,
        "vllm:generation_tokens_total": counters.generation_tokens,
        "vllm:prefix_cache_queries_total": counters.prefix_queries,
        "vllm:prefix_cache_hits_total": counters.prefix_hits,
        "vllm:num_preemptions_total": scheduler.preemptions,
    }
    lines = [f"# TYPE {name} gauge\n{name}{{{labels}}} {value}" for name, value in gauges.items()]
    lines += [f"# TYPE {name} counter\n{name}{{{labels}}} {value}" for name, value in totals.items()]
    lines.append(_cache_config(scheduler.blocks.capacity_blocks))
    lines += _ended(engine.timings, labels)
    lines += _histograms(engine.timings, labels)
    return "\n".join(lines) + "\n"


def _cache_config(blocks: int) -> str:
    name = "vllm:cache_config_info"
    return f'# TYPE {name} gauge\n{name}{{block_size="{BLOCK_TOKENS}",engine="0",num_gpu_blocks="{blocks}"}} 1'


def _ended(timings: Timings, labels: str) -> list[str]:
    name = "vllm:request_success_total"
    rows = [f'{name}{{{labels},finished_reason="{why}"}} {timings.ended[why]}' for why in ("length", "abort")]
    return [f"# TYPE {name} counter", *rows]


def _histograms(timings: Timings, labels: str) -> list[str]:
    histograms = {
        "vllm:iteration_tokens_total": timings.step_tokens,
        "vllm:time_to_first_token_seconds": timings.first_token,
        "vllm:inter_token_latency_seconds": timings.between_tokens,
        "vllm:e2e_request_latency_seconds": timings.whole,
        "vllm:request_queue_time_seconds": timings.queue,
        "vllm:request_prefill_time_seconds": timings.prefill,
        "vllm:request_decode_time_seconds": timings.decode,
    }
    return [line for name, histogram in histograms.items() for line in histogram.lines(name, labels)]
