"""vLLM's metrics, by what dashboards call them."""

from monitoring.metrics import VLLM, Metric

_BY_NAME = {metric.name: metric for metric in VLLM}


def _vllm(name: str) -> Metric:
    return _BY_NAME[f"vllm:{name}"]


RUNNING = _vllm("num_requests_running")
WAITING = _vllm("num_requests_waiting")
ENDED = _vllm("request_success_total")
KV_USE = _vllm("kv_cache_usage_perc")
PREEMPTIONS = _vllm("num_preemptions_total")
CACHE_QUERIES = _vllm("prefix_cache_queries_total")
CACHE_HITS = _vllm("prefix_cache_hits_total")
PROMPT_TOKENS = _vllm("prompt_tokens_total")
GENERATED_TOKENS = _vllm("generation_tokens_total")
STEP_TOKENS = _vllm("iteration_tokens_total")
TTFT = _vllm("time_to_first_token_seconds")
ITL = _vllm("inter_token_latency_seconds")
QUEUE = _vllm("request_queue_time_seconds")
PREFILL = _vllm("request_prefill_time_seconds")
DECODE = _vllm("request_decode_time_seconds")
E2E = _vllm("e2e_request_latency_seconds")
