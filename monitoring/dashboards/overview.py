"""Overview: are clients served, and if not, where to look next."""

from monitoring import engine_metrics as vllm
from monitoring import metrics as m
from monitoring.dashboards.by_model import MODEL, REPLICAS_THAT_SERVE, WAITING_NOW
from monitoring.panel import (
    GOOD_ABOVE,
    NEARLY_FULL,
    SOME_IS_BAD,
    Dashboard,
    Panel,
    Query,
    Row,
    Threshold,
    Variable,
    stat,
)
from monitoring.promql import or_none

FAILING = 'outcome=~"broken|timed_out|failed|shed"'
ALERTS = 'ALERTS{alertname=~"Baryon.+",alertstate="firing"}'

SERVED = Row(
    "Are clients served?",
    (
        stat(
            1,
            "SLO attainment",
            "Requests of the last 5 minutes that kept their model's TTFT and TPOT. Below 99 % the error budget burns.",
            "percentunit",
            (Query(MODEL.share(m.SLO_MET, m.SLO_REQUESTS, over="5m")),),
            thresholds=GOOD_ABOVE,
            quiet="no requests",
        ),
        stat(
            2,
            "Alerts that fire",
            "Of monitoring/alerts/baryon.yaml; each has a section in docs/runbook.md.",
            "none",
            (Query(or_none(f"count({ALERTS})")),),
            thresholds=SOME_IS_BAD,
        ),
        stat(
            3,
            "Failing requests",
            "Share of the last 5 minutes' requests that broke, timed out, failed or were shed (503).",
            "percentunit",
            (
                Query(
                    f"({or_none(MODEL.where(FAILING).rate(m.REQUESTS, over='5m'))})"
                    f" / {MODEL.rate(m.REQUESTS, over='5m')}",
                ),
            ),
            thresholds=(Threshold(0.0, "green"), Threshold(0.005, "orange"), Threshold(0.01, "red")),
            quiet="no requests",
        ),
        stat(
            4,
            "TTFT, 95th percentile",
            "Over the last 5 minutes and all models, from a request's arrival to its first token.",
            "s",
            (Query(MODEL.percentile(95, m.TTFT, over="5m")),),
            quiet="no requests",
        ),
        WAITING_NOW,
        REPLICAS_THAT_SERVE,
    ),
)

TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            7,
            "Requests per second by model",
            "All that ended, whatever became of them.",
            "reqps",
            (Query(MODEL.rate(m.REQUESTS, "model"), "{{model}}"),),
        ),
        Panel(
            8,
            "Failing requests per second by model",
            "Broken, timed out, failed, or shed (503). Clients' own errors (4xx) and clients that left do not count.",
            "reqps",
            (Query(MODEL.where(FAILING).events(m.REQUESTS, "model", "outcome"), "{{model}} {{outcome}}"),),
        ),
        Panel(
            15,
            "Latency by model, 90th percentile",
            "From a request's arrival to the end of its answer.",
            "s",
            (Query(MODEL.percentile(90, m.E2E, "model"), "{{model}}"),),
        ),
    ),
)

LATENCY = Row(
    "Latency",
    (
        Panel(
            16,
            "Time to first token",
            "All models. One model's own is on its page.",
            "s",
            tuple(Query(MODEL.percentile(p, m.TTFT), f"p{p}") for p in (50, 95, 99)),
        ),
        Panel(
            17,
            "Time per output token",
            "(E2E - TTFT) / (output tokens - 1), by request.",
            "s",
            tuple(Query(MODEL.percentile(p, m.TPOT), f"p{p}") for p in (50, 95, 99)),
        ),
        Panel(
            18,
            "Where requests spend their time",
            "Seconds spent in each stage, per second: 3 s/s of prefill are three requests in prefill at a time.",
            "s",
            (Query(MODEL.rate(m.STAGES, "stage"), "{{stage}}"),),
            stacked=True,
        ),
    ),
)

TOKENS = Row(
    "Tokens",
    (
        Panel(
            19,
            "Tokens per second",
            "As the engines count them. Cached: prompt tokens that the prefix cache had.",
            "short",
            (
                Query(MODEL.rate(m.PROMPT_TOKENS), "prompt"),
                Query(MODEL.rate(m.CACHED_TOKENS), "cached"),
                Query(MODEL.rate(m.GENERATED_TOKENS), "generated"),
            ),
        ),
        Panel(
            30,
            "Goodput",
            "Generated tokens per second that belong to requests that kept the SLO, beside all.",
            "short",
            (
                Query(MODEL.rate(m.GOODPUT_TOKENS), "within the SLO"),
                Query(MODEL.rate(m.GENERATED_TOKENS), "all"),
            ),
        ),
        Panel(
            31,
            "SLO attainment by model",
            "Share of requests that kept TTFT and TPOT.",
            "percentunit",
            (Query(MODEL.share(m.SLO_MET, m.SLO_REQUESTS, "model"), "{{model}}"),),
            highest=1.0,
        ),
    ),
)

REFUSED = Row(
    "Turned away",
    (
        Panel(
            32,
            "503: shed, by reason",
            "The cluster's capacity: see the autoscaler page. Reasons are the error codes that clients get.",
            "reqps",
            (Query(MODEL.events(m.SHED, "model", "reason"), "{{model}} {{reason}}"),),
        ),
        Panel(
            33,
            "429: over a tenant's limit",
            "Which limit it was. Nothing is wrong with the cluster; the tenant's page says who.",
            "reqps",
            (Query(MODEL.events(m.LIMITED, "model", "limit"), "{{model}} {{limit}}"),),
        ),
        Panel(
            34,
            "401: key errors, by reason",
            "A key that was rotated and not replaced everywhere, or somebody who guesses.",
            "reqps",
            (Query(MODEL.events(m.KEY_ERRORS, "reason"), "{{reason}}"),),
        ),
    ),
)

CAPACITY = Row(
    "Capacity",
    (
        Panel(
            35,
            "Replicas",
            "Asked of Ray Serve, serving, starting, over all chosen models.",
            "none",
            (
                Query(MODEL.total(m.DESIRED), "desired"),
                Query(MODEL.total(m.RUNNING), "running"),
                Query(MODEL.total(m.STARTING), "starting"),
            ),
        ),
        Panel(
            36,
            "KV cache in use, fullest replica",
            "Of each model. At 100 % engines put requests off (preempt).",
            "percentunit",
            (Query(MODEL.highest(vllm.KV_USE, "model"), "{{model}}"),),
            thresholds=NEARLY_FULL,
            highest=1.0,
        ),
        Panel(
            37,
            "Requests in flight and waiting",
            "Inside gateways; those of them that wait for a replica.",
            "none",
            (Query(MODEL.total(m.IN_FLIGHT), "in flight"), Query(MODEL.total(m.WAITING, "model"), "waiting {{model}}")),
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel(
            38,
            "Scrape targets",
            "1: the node's exporter answered. A gap means that nothing is known of that node.",
            "none",
            (Query('up{job="baryon"}', "{{instance}}"),),
            highest=1.0,
        ),
        Panel(
            39,
            "Gateways",
            "Gateway processes by node.",
            "none",
            (Query(f"sum by (instance) ({m.GATEWAYS.name})", "{{instance}}"),),
        ),
        Panel(
            40,
            "How long a scrape takes",
            "Putting a node's page together, its engines' answers included. Prometheus waits for its scrape_timeout.",
            "s",
            (Query(f"max by (instance) ({m.EXPORTER_SECONDS.name})", "{{instance}}"),),
        ),
    ),
)

DASHBOARD = Dashboard(
    "baryon-overview",
    "Baryon: overview",
    "Are clients served, and if not, where to look next.",
    (Variable("model", m.DESIRED.name, "model"),),
    (SERVED, TRAFFIC, LATENCY, TOKENS, REFUSED, CAPACITY, PROCESSES),
)
