"""One model: its SLO, latencies by tenant class, stages, tokens, and how well its requests are placed."""

from monitoring import metrics as m
from monitoring.dashboards.by_model import MODEL, REPLICAS_THAT_SERVE, WAITING_NOW
from monitoring.panel import GOOD_ABOVE, Dashboard, Panel, Query, Row, Variable, stat

NOW = Row(
    "Now",
    (
        stat(
            1,
            "SLO attainment, last hour",
            "Share of requests that kept TTFT and TPOT.",
            "percentunit",
            (Query(MODEL.share(m.SLO_MET, m.SLO_REQUESTS, over="1h")),),
            thresholds=GOOD_ABOVE,
            quiet="no requests",
        ),
        stat(
            2,
            "Promised TTFT and TPOT",
            "The SLO in baryon.yaml, changed by `baryon apply`.",
            "s",
            (Query(MODEL.highest(m.SLO_TTFT), "TTFT"), Query(MODEL.highest(m.SLO_TPOT), "TPOT")),
            quiet="no SLO",
        ),
        stat(
            3,
            "Requests per second",
            "All that ended, over the last 5 minutes.",
            "reqps",
            (Query(MODEL.rate(m.REQUESTS, over="5m")),),
            quiet="no requests",
        ),
        stat(
            4,
            "Goodput",
            "Generated tokens per second within the SLO, over the last 5 minutes.",
            "short",
            (Query(MODEL.rate(m.GOODPUT_TOKENS, over="5m")),),
            quiet="no requests",
        ),
        WAITING_NOW,
        REPLICAS_THAT_SERVE,
    ),
)

REQUESTS = Row(
    "Requests",
    (
        Panel(
            10,
            "Requests per second by outcome",
            "client_gone: the client left; refused: 4xx; shed: 503; broken: cut after the first byte.",
            "reqps",
            (Query(MODEL.rate(m.REQUESTS, "outcome"), "{{outcome}}"),),
            stacked=True,
        ),
        Panel(
            11,
            "SLO attainment by tenant class",
            "Priorities are the tenants'; a higher one goes first.",
            "percentunit",
            (Query(MODEL.share(m.SLO_MET, m.SLO_REQUESTS, "priority"), "priority {{priority}}"),),
            highest=1.0,
        ),
        Panel(
            12,
            "Turned away or retried",
            "503 and 429 answers, and replicas asked in vain before another one took the request.",
            "reqps",
            (
                Query(MODEL.events(m.SHED, "reason"), "503 {{reason}}"),
                Query(MODEL.events(m.LIMITED, "limit"), "429 {{limit}}"),
                Query(MODEL.events(m.FAILOVERS), "failovers"),
            ),
        ),
    ),
)

LATENCY = Row(
    "Latency",
    (
        Panel(
            20,
            "Time to first token",
            "From a request's arrival, its wait at the gateway included.",
            "s",
            (
                *(Query(MODEL.percentile(p, m.TTFT), f"p{p}") for p in (50, 95, 99)),
                Query(MODEL.highest(m.SLO_TTFT), "SLO"),
            ),
        ),
        Panel(
            21,
            "Time per output token",
            "(E2E - TTFT) / (output tokens - 1), by request.",
            "s",
            (
                *(Query(MODEL.percentile(p, m.TPOT), f"p{p}") for p in (50, 95, 99)),
                Query(MODEL.highest(m.SLO_TPOT), "SLO"),
            ),
        ),
        Panel(
            22,
            "TTFT by tenant class, 95th percentile",
            "A class that is slower than another waits: see the queue.",
            "s",
            (Query(MODEL.percentile(95, m.TTFT, "priority"), "priority {{priority}}"),),
        ),
        Panel(
            23,
            "How times to first token are spread",
            "Requests by TTFT: two bands are two kinds of requests, such as prompts in the cache and others.",
            "s",
            (Query(MODEL.buckets(m.TTFT), "{{le}}"),),
            kind="heatmap",
            width=12,
        ),
        Panel(
            24,
            "Between two pieces of a stream",
            "As they pass the gateway. p99 far above p50: long prompts come between the steps.",
            "s",
            tuple(Query(MODEL.percentile(p, m.ITL), f"p{p}") for p in (50, 95, 99)),
            width=6,
        ),
        Panel(
            25,
            "Whole answers",
            "From a request's arrival to the end of its answer.",
            "s",
            tuple(Query(MODEL.percentile(p, m.E2E), f"p{p}") for p in (50, 95, 99)),
            width=6,
        ),
    ),
)

STAGES = Row(
    "Where the time goes",
    (
        Panel(
            30,
            "Stages",
            "Seconds that requests spent in each stage, per second. queue: at the gateway; engine_queue: inside vLLM.",
            "s",
            (Query(MODEL.rate(m.STAGES, "stage"), "{{stage}}"),),
            stacked=True,
        ),
        Panel(
            31,
            "Wait for a replica",
            "At the gateway, before a replica is chosen.",
            "s",
            tuple(Query(MODEL.percentile(p, m.QUEUE), f"p{p}") for p in (50, 95, 99)),
        ),
        Panel(
            32,
            "Choosing the replica",
            "The router's own time. Normally far below a millisecond.",
            "s",
            tuple(Query(MODEL.percentile(p, m.ROUTING), f"p{p}") for p in (50, 99)),
        ),
    ),
)

PLACEMENT = Row(
    "Tokens and placement",
    (
        Panel(
            40,
            "Tokens per second",
            "As the engines count them.",
            "short",
            (
                Query(MODEL.rate(m.PROMPT_TOKENS), "prompt"),
                Query(MODEL.rate(m.CACHED_TOKENS), "cached"),
                Query(MODEL.rate(m.GENERATED_TOKENS), "generated"),
                Query(MODEL.rate(m.GOODPUT_TOKENS), "generated within the SLO"),
            ),
        ),
        Panel(
            41,
            "Cache hits, predicted and actual",
            "Prompt tokens per second. Predictions far off send requests to replicas that have evicted what was there.",
            "short",
            (
                Query(MODEL.rate(m.PREDICTED_HIT), "predicted"),
                Query(MODEL.rate(m.ACTUAL_HIT), "actual"),
                Query(MODEL.rate(m.HIT_ERROR), "error"),
            ),
        ),
        Panel(
            42,
            "TTFT, predicted and actual",
            "Mean, from dispatch to a replica. The error is the mean of |predicted - actual|.",
            "s",
            (
                Query(f"{MODEL.rate(m.PREDICTED_TTFT)} / {MODEL.rate(m.ROUTED_TTFTS)}", "predicted"),
                Query(f"{MODEL.rate(m.ACTUAL_TTFT)} / {MODEL.rate(m.ROUTED_TTFTS)}", "actual"),
                Query(f"{MODEL.rate(m.TTFT_ERROR)} / {MODEL.rate(m.ROUTED_TTFTS)}", "error"),
            ),
        ),
        Panel(
            43,
            "Prompt blocks that the router remembers",
            "Entries of its prefix index, over all gateways.",
            "short",
            (Query(MODEL.total(m.INDEX_ENTRIES)),),
            width=12,
        ),
        Panel(
            44,
            "Replicas",
            "Asked of Ray Serve, serving, starting. Why: the autoscaler page.",
            "none",
            (
                Query(MODEL.total(m.DESIRED), "desired"),
                Query(MODEL.total(m.RUNNING), "running"),
                Query(MODEL.total(m.STARTING), "starting"),
            ),
            width=12,
        ),
    ),
)

DASHBOARD = Dashboard(
    "baryon-model",
    "Baryon: one model",
    "One model's SLO, latencies, stages, tokens, and how well its requests are placed.",
    (Variable("model", m.DESIRED.name, "model", several=False),),
    (NOW, REQUESTS, LATENCY, STAGES, PLACEMENT),
)
