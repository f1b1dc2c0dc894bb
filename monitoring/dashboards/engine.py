"""Engines: what each replica's vLLM does, its KV cache, and its GPUs."""

from monitoring import engine_metrics as vllm
from monitoring import metrics as m
from monitoring.panel import NEARLY_FULL, SOME_IS_BAD, Dashboard, Panel, Query, Row, Variable
from monitoring.promql import Scope

ENGINE = Scope(("model", "node"))
HERE = "{{model}} {{replica}}"
GPU = "a GPU (NVML)"
BY_REPLICA = ("model", "replica")

REPLICAS = Row(
    "Replicas",
    (
        Panel(
            1,
            "Replicas",
            "up: the engine answered the last scrape; a lost one stays for a minute as 0. TP: GPUs for each layer.",
            "none",
            (
                Query(ENGINE.total(m.REPLICA_UP, "model", "replica", "node"), "up"),
                Query(ENGINE.total(m.TENSOR_PARALLEL, "model", "replica", "node"), "TP"),
                Query(ENGINE.total(m.KV_CACHE_TOKENS, "model", "replica", "node"), "KV cache tokens"),
                Query(ENGINE.total(vllm.RUNNING, "model", "replica", "node"), "running"),
                Query(ENGINE.total(vllm.WAITING, "model", "replica", "node"), "waiting"),
            ),
            kind="table",
            width=24,
            height=7,
        ),
        Panel(
            2,
            "Requests in the batch",
            "By replica. Work here and no tokens: the engine is stuck.",
            "none",
            (Query(ENGINE.total(vllm.RUNNING, *BY_REPLICA), HERE),),
        ),
        Panel(
            3,
            "Requests that wait inside engines",
            "Gateways hold back what could only lie here, so this stays small.",
            "none",
            (Query(ENGINE.total(vllm.WAITING, *BY_REPLICA), HERE),),
        ),
        Panel(
            4,
            "Requests that ended, by reason",
            "stop: the model ended it; length: max_tokens; abort: the client left.",
            "reqps",
            (Query(ENGINE.rate(vllm.ENDED, "finished_reason"), "{{finished_reason}}"),),
            stacked=True,
        ),
    ),
)

CACHE = Row(
    "KV cache",
    (
        Panel(
            10,
            "KV cache in use",
            "By replica. At 100 % the engine preempts.",
            "percentunit",
            (Query(ENGINE.highest(vllm.KV_USE, *BY_REPLICA), HERE),),
            thresholds=NEARLY_FULL,
            highest=1.0,
        ),
        Panel(
            11,
            "Preemptions per second",
            "Requests put off because the cache was full; they are computed again. Steady ones are thrash.",
            "reqps",
            (Query(ENGINE.rate(vllm.PREEMPTIONS, *BY_REPLICA), HERE),),
            thresholds=SOME_IS_BAD,
        ),
        Panel(
            12,
            "Prefix cache hits",
            "Share of looked-up prompt tokens that were there.",
            "percentunit",
            (Query(ENGINE.share(vllm.CACHE_HITS, vllm.CACHE_QUERIES, *BY_REPLICA), HERE),),
            highest=1.0,
        ),
    ),
)

WORK = Row(
    "Work",
    (
        Panel(
            20,
            "Prompt tokens per second",
            "By replica, cached ones included.",
            "short",
            (Query(ENGINE.rate(vllm.PROMPT_TOKENS, *BY_REPLICA), HERE),),
        ),
        Panel(
            21,
            "Generated tokens per second",
            "By replica.",
            "short",
            (Query(ENGINE.rate(vllm.GENERATED_TOKENS, *BY_REPLICA), HERE),),
        ),
        Panel(
            22,
            "Engine steps per second",
            "By replica. 0 with requests in the batch: stuck.",
            "short",
            (Query(ENGINE.count_of(vllm.STEP_TOKENS, *BY_REPLICA), HERE),),
        ),
        Panel(
            23,
            "Tokens of a step",
            "Mean. Near max_num_batched_tokens: prefill fills the steps.",
            "short",
            (Query(ENGINE.mean(vllm.STEP_TOKENS, *BY_REPLICA), HERE),),
        ),
        Panel(
            24,
            "Engine time to first token",
            "From arrival at the engine: without the gateway's queue.",
            "s",
            (Query(ENGINE.percentile(95, vllm.TTFT, *BY_REPLICA), "p95 " + HERE),),
        ),
        Panel(
            25,
            "Engine time between tokens",
            "95th percentile by replica. One slower than its siblings: look at its node and GPU.",
            "s",
            (Query(ENGINE.percentile(95, vllm.ITL, *BY_REPLICA), "p95 " + HERE),),
        ),
        Panel(
            26,
            "Queue, prefill and decode inside the engine",
            "Mean of the requests that ended.",
            "s",
            (
                Query(ENGINE.mean(vllm.QUEUE), "queue"),
                Query(ENGINE.mean(vllm.PREFILL), "prefill"),
                Query(ENGINE.mean(vllm.DECODE), "decode"),
            ),
            width=12,
        ),
        Panel(
            27,
            "Whole requests inside the engine",
            "From arrival at the engine to the last token.",
            "s",
            tuple(Query(ENGINE.percentile(p, vllm.E2E), f"p{p}") for p in (50, 95, 99)),
            width=12,
        ),
    ),
)

GPUS = Row(
    "GPUs",
    (
        Panel(
            30,
            "GPU memory in use",
            "By NVML. vLLM takes its part at the start and keeps it: a change is something else.",
            "percentunit",
            (
                Query(
                    f"{ENGINE.total(m.GPU_MEMORY_USED, 'node', 'gpu')} / {ENGINE.total(m.GPU_MEMORY, 'node', 'gpu')}",
                    "{{node}} {{gpu}}",
                ),
            ),
            width=12,
            highest=1.0,
            needs=GPU,
        ),
        Panel(
            31,
            "GPU use",
            "Share of the last sample period in which a kernel ran.",
            "percentunit",
            (Query(ENGINE.highest(m.GPU_USE, "node", "gpu"), "{{node}} {{gpu}}"),),
            width=12,
            highest=1.0,
            needs=GPU,
        ),
    ),
)

DASHBOARD = Dashboard(
    "baryon-engine",
    "Baryon: engines and KV cache",
    "What each replica's engine does, its KV cache, and its GPUs. The engines' own metrics, by vLLM's names.",
    (Variable("model", m.DESIRED.name, "model"), Variable("node", m.REPLICA_UP.name, "node")),
    (REPLICAS, CACHE, WORK, GPUS),
)
