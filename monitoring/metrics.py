"""The registry: every metric of ours, and those of vLLM's that dashboards, alerts and the router use."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["", "seconds", "tokens", "bytes", "ratio", "replicas", "requests"]
Owner = Literal["gateway", "state", "exporter", "vllm"]
Merge = Literal["livesum", "livemax", "livemostrecent"]

LATENCY_S = (
    *(0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75),
    *(1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0),
)
PER_TOKEN_S = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
DECISION_S = (2e-05, 5e-05, 0.0001, 0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 60.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as it is scraped: a counter's ends in `_total`, a histogram's has `_bucket`, `_sum` and `_count`.

    `buckets`: the classic ones. `merge`: a gauge's value of several processes on one node.
    """

    name: str
    kind: Kind
    unit: Unit
    labels: tuple[str, ...]
    help: str
    owner: Owner
    buckets: tuple[float, ...] = ()
    merge: Merge = "livesum"

    @property
    def has_native_buckets(self) -> bool:
        """Every histogram of ours has: those of `native_buckets.py`."""
        return bool(self.buckets)


CLASS = ("model", "priority")
TENANT = ("model", "tenant")
REPLICA = ("model", "replica", "node")
GPU = ("node", "gpu")


def _class_histogram(name: str, help_text: str, buckets: tuple[float, ...] = LATENCY_S) -> Metric:
    return Metric(name, "histogram", "seconds", CLASS, help_text, "gateway", buckets)


def _gateway_counter(name: str, unit: Unit, labels: tuple[str, ...], help_text: str) -> Metric:
    return Metric(name, "counter", unit, labels, help_text, "gateway")


def _state_gauge(name: str, unit: Unit, labels: tuple[str, ...], help_text: str) -> Metric:
    return Metric(name, "gauge", unit, labels, help_text, "state", merge="livemostrecent")


TTFT = _class_histogram("baryon_request_ttft_seconds", "From a request's arrival to the first token of its answer.")
TPOT = _class_histogram(
    "baryon_request_tpot_seconds", "Time per output token of a request: (E2E - TTFT) / (output - 1).", PER_TOKEN_S
)
ITL = _class_histogram("baryon_request_itl_seconds", "Between two pieces of a stream as they pass.", PER_TOKEN_S)
E2E = _class_histogram("baryon_request_e2e_seconds", "From a request's arrival to the end of its whole answer.")
QUEUE = _class_histogram("baryon_request_queue_seconds", "A request's wait at the gateway for a replica.")
ROUTING = _class_histogram("baryon_request_routing_seconds", "Choosing the replica.", DECISION_S)
STAGES = _gateway_counter(
    "baryon_request_stage_seconds_total",
    "seconds",
    ("model", "stage"),
    "Where requests' time went, as in `Server-Timing`: auth, read, queue, route, connect, engine_queue, prefill, ….",
)
REQUESTS = _gateway_counter(
    "baryon_requests_total", "requests", (*CLASS, "outcome", "status"), "Inference requests that ended, and how."
)
IN_FLIGHT = Metric("baryon_requests_in_flight", "gauge", "requests", (), "Requests inside gateways now.", "gateway")
FAILOVERS = _gateway_counter(
    "baryon_failovers_total", "requests", ("model",), "Replicas that were asked in vain before another one took it."
)
PROMPT_TOKENS = _gateway_counter(
    "baryon_prompt_tokens_total", "tokens", TENANT, "Prompt tokens, as engines count them."
)
CACHED_TOKENS = _gateway_counter(
    "baryon_cached_prompt_tokens_total", "tokens", TENANT, "Prompt tokens that were in the prefix cache."
)
GENERATED_TOKENS = _gateway_counter(
    "baryon_generated_tokens_total", "tokens", TENANT, "Output tokens, as engines count them."
)
TENANT_REQUESTS = _gateway_counter(
    "baryon_tenant_requests_total", "requests", (*TENANT, "outcome"), "Requests of a tenant that ended, and how."
)
SLO_REQUESTS = _gateway_counter(
    "baryon_slo_requests_total", "requests", CLASS, "Requests that count for the SLO: finished, or failed by us."
)
SLO_MET = _gateway_counter("baryon_slo_met_requests_total", "requests", CLASS, "Those of them that kept the SLO.")
GOODPUT_TOKENS = _gateway_counter(
    "baryon_goodput_tokens_total", "tokens", CLASS, "Output tokens of requests that kept the SLO."
)
WAITING = Metric(
    "baryon_queue_waiting_requests", "gauge", "requests", ("model",), "Requests that wait for a replica.", "gateway"
)
SHED = _gateway_counter(
    "baryon_requests_shed_total", "requests", ("model", "reason"), "Requests answered with 503, by error code."
)
LIMITED = _gateway_counter(
    "baryon_requests_limited_total", "requests", ("model", "limit"), "Requests answered with 429, by the limit."
)
KEY_ERRORS = _gateway_counter(
    "baryon_key_errors_total", "requests", ("reason",), "Requests for any route answered with 401."
)
GATEWAYS = Metric("baryon_gateways", "gauge", "", (), "Gateway processes on this node.", "gateway")
STATE_SILENT = Metric(
    "baryon_state_silent_seconds",
    "gauge",
    "seconds",
    (),
    "Since state last answered a gateway of this node, which asks every second.",
    "gateway",
    merge="livemax",
)
KEYS_AGE = Metric(
    "baryon_keys_age_seconds",
    "gauge",
    "seconds",
    (),
    "Since state last told a gateway of this node which keys there are: up to 21 s where nothing changes.",
    "gateway",
    merge="livemax",
)
ROUTED = _gateway_counter(
    "baryon_router_requests_total", "requests", ("model",), "Finished requests whose engine told its cache hit."
)
PREDICTED_HIT = _gateway_counter(
    "baryon_router_predicted_hit_tokens_total", "tokens", ("model",), "Prompt tokens expected in the prefix cache."
)
ACTUAL_HIT = _gateway_counter(
    "baryon_router_actual_hit_tokens_total", "tokens", ("model",), "Prompt tokens that were in the prefix cache."
)
HIT_ERROR = _gateway_counter(
    "baryon_router_hit_error_tokens_total", "tokens", ("model",), "Sum of |predicted - actual| hit."
)
ROUTED_TTFTS = _gateway_counter(
    "baryon_router_ttfts_total", "requests", ("model",), "Requests whose time to first token is known."
)
PREDICTED_TTFT = _gateway_counter(
    "baryon_router_predicted_ttft_seconds_total", "seconds", ("model",), "Sum of predicted times to first token."
)
ACTUAL_TTFT = _gateway_counter(
    "baryon_router_actual_ttft_seconds_total",
    "seconds",
    ("model",),
    "Sum of actual times to first token, from dispatch.",
)
TTFT_ERROR = _gateway_counter(
    "baryon_router_ttft_error_seconds_total", "seconds", ("model",), "Sum of |predicted - actual| time to first token."
)
INDEX_ENTRIES = Metric(
    "baryon_router_prefix_index_entries", "gauge", "", ("model",), "Prompt blocks in the prefix index.", "gateway"
)

DESIRED = _state_gauge("baryon_autoscaler_desired_replicas", "replicas", ("model",), "Replicas asked of Ray Serve.")
RUNNING = _state_gauge("baryon_autoscaler_running_replicas", "replicas", ("model",), "Replicas that serve.")
STARTING = _state_gauge(
    "baryon_autoscaler_starting_replicas", "replicas", ("model",), "Replicas asked for and not ready."
)
LEAST = _state_gauge("baryon_autoscaler_min_replicas", "replicas", ("model",), "The fewest that are allowed.")
MOST = _state_gauge("baryon_autoscaler_max_replicas", "replicas", ("model",), "The most that are allowed.")
REASON = _state_gauge("baryon_autoscaler_reason", "", ("model", "reason"), "1 for the reason of the last decision.")
LOAD = _state_gauge(
    "baryon_autoscaler_load_replicas", "replicas", ("model",), "Replicas kept busy by the present demand."
)
FORECAST_LOAD = _state_gauge(
    "baryon_autoscaler_forecast_load_replicas", "replicas", ("model",), "The same, a cold start ahead."
)
BEARABLE_LOAD = _state_gauge(
    "baryon_autoscaler_bearable_load", "", ("model",), "Load that one replica bears within the SLO."
)
COLD_START = _state_gauge(
    "baryon_autoscaler_cold_start_seconds", "seconds", ("model",), "Nine of ten starts were faster."
)
CHANGES = Metric(
    "baryon_autoscaler_changes_total",
    "counter",
    "replicas",
    ("model", "direction"),
    "Replicas asked for or given up.",
    "state",
)
REPLICAS = _state_gauge("baryon_replicas", "replicas", ("model", "stage"), "Replicas by the stage that they are in.")
OLDEST_START = _state_gauge(
    "baryon_replica_oldest_start_seconds", "seconds", ("model",), "How long the oldest start has taken so far."
)
REPLICA_FAILURES = Metric(
    "baryon_replica_failures_total", "counter", "", ("model", "cause"), "Replicas that were given up.", "state"
)
SLO_TTFT = _state_gauge("baryon_slo_ttft_seconds", "seconds", ("model",), "The time to first token that is promised.")
SLO_TPOT = _state_gauge("baryon_slo_tpot_seconds", "seconds", ("model",), "The time per output token promised.")


def _exporter_gauge(name: str, unit: Unit, labels: tuple[str, ...], help_text: str) -> Metric:
    return Metric(name, "gauge", unit, labels, help_text, "exporter")


REPLICA_UP = _exporter_gauge(
    "baryon_replica_up", "", REPLICA, "1: its engine answered this scrape. A lost one is 0 for a minute more."
)
TENSOR_PARALLEL = _exporter_gauge(
    "baryon_replica_tensor_parallel_size", "", REPLICA, "GPUs that each layer is spread over."
)
KV_CACHE_TOKENS = _exporter_gauge("baryon_replica_kv_cache_tokens", "tokens", REPLICA, "What its KV cache holds.")
GPU_MEMORY_USED = _exporter_gauge("baryon_gpu_memory_used_bytes", "bytes", GPU, "Of one GPU, by NVML.")
GPU_MEMORY = _exporter_gauge("baryon_gpu_memory_total_bytes", "bytes", GPU, "Of one GPU, by NVML.")
GPU_USE = _exporter_gauge(
    "baryon_gpu_utilization_ratio", "ratio", GPU, "Share of the last sample period in which a kernel ran, by NVML."
)
BUILD = _exporter_gauge("baryon_build_info", "", ("version", "ray", "vllm", "python"), "1, with what runs here.")
NODE = _exporter_gauge("baryon_node_info", "", ("node", "node_id", "address"), "1, with the names of this node.")
EXPORTER_SECONDS = _exporter_gauge(
    "baryon_exporter_scrape_seconds", "seconds", (), "What putting the page before this one together took."
)

BARYON: tuple[Metric, ...] = (
    *(TTFT, TPOT, ITL, E2E, QUEUE, ROUTING, STAGES, REQUESTS, IN_FLIGHT, FAILOVERS),
    *(PROMPT_TOKENS, CACHED_TOKENS, GENERATED_TOKENS, TENANT_REQUESTS, SLO_REQUESTS, SLO_MET, GOODPUT_TOKENS),
    *(WAITING, SHED, LIMITED, KEY_ERRORS, GATEWAYS, STATE_SILENT, KEYS_AGE),
    *(ROUTED, PREDICTED_HIT, ACTUAL_HIT, HIT_ERROR, ROUTED_TTFTS, PREDICTED_TTFT, ACTUAL_TTFT, TTFT_ERROR),
    *(INDEX_ENTRIES, DESIRED, RUNNING, STARTING, LEAST, MOST, REASON, LOAD, FORECAST_LOAD, BEARABLE_LOAD),
    *(COLD_START, CHANGES, REPLICAS, OLDEST_START, REPLICA_FAILURES, SLO_TTFT, SLO_TPOT),
    *(REPLICA_UP, TENSOR_PARALLEL, KV_CACHE_TOKENS, GPU_MEMORY_USED, GPU_MEMORY, GPU_USE),
    *(BUILD, NODE, EXPORTER_SECONDS),
)


def _vllm(name: str, kind: Kind, unit: Unit, help_text: str, *labels: str) -> Metric:
    return Metric(f"vllm:{name}", kind, unit, (*REPLICA, "model_name", "engine", *labels), help_text, "vllm")


VLLM: tuple[Metric, ...] = (
    _vllm("num_requests_running", "gauge", "requests", "Requests in the batch now."),
    _vllm("num_requests_waiting", "gauge", "requests", "Requests that wait inside the engine."),
    _vllm("kv_cache_usage_perc", "gauge", "ratio", "Share of the KV cache in use: 1 is all of it."),
    Metric(
        "vllm:cache_config_info",
        "gauge",
        "",
        (*REPLICA, "engine", "block_size", "num_gpu_blocks"),
        "1, with how the KV cache is set up; vLLM has many more labels here.",
        "vllm",
    ),
    _vllm("num_preemptions_total", "counter", "requests", "Requests put off because the KV cache was full."),
    _vllm("prompt_tokens_total", "counter", "tokens", "Prompt tokens."),
    _vllm("generation_tokens_total", "counter", "tokens", "Output tokens."),
    _vllm("prefix_cache_queries_total", "counter", "tokens", "Prompt tokens looked up in the prefix cache."),
    _vllm("prefix_cache_hits_total", "counter", "tokens", "Prompt tokens found there."),
    _vllm("request_success_total", "counter", "requests", "Inference requests that ended, and how.", "finished_reason"),
    _vllm("iteration_tokens_total", "histogram", "tokens", "Tokens of one step; its count is the number of steps."),
    _vllm("time_to_first_token_seconds", "histogram", "seconds", "From arrival at the engine to the first token."),
    _vllm("inter_token_latency_seconds", "histogram", "seconds", "Between two tokens of a request."),
    _vllm("e2e_request_latency_seconds", "histogram", "seconds", "From arrival at the engine to the last token."),
    _vllm("request_queue_time_seconds", "histogram", "seconds", "A request's wait inside the engine."),
    _vllm("request_prefill_time_seconds", "histogram", "seconds", "From the batch to the first token."),
    _vllm("request_decode_time_seconds", "histogram", "seconds", "From the first token to the last."),
)
