"""One tenant: what it asks for, what it gets, and its part of the whole."""

from monitoring import metrics as m
from monitoring.dashboards.by_model import MODEL
from monitoring.panel import SOME_IS_BAD, Dashboard, Panel, Query, Row, Variable, stat
from monitoring.promql import LATELY, SHOWN, Scope, or_none

TENANT = Scope(("model", "tenant"))
TOP = 10
TURNED_AWAY = 'outcome=~"refused|shed"'

USE = Row(
    "In the time shown",
    (
        stat(
            1,
            "Requests",
            "That ended. Prometheus estimates; the exact count is `baryon usage`.",
            "short",
            (Query(TENANT.increase(m.TENANT_REQUESTS)),),
        ),
        stat(
            2,
            "Prompt tokens",
            "As the engines count them.",
            "short",
            (Query(TENANT.increase(m.PROMPT_TOKENS)),),
        ),
        stat(
            3,
            "Cached of them",
            "Prompt tokens that the prefix cache had.",
            "percentunit",
            (Query(TENANT.share(m.CACHED_TOKENS, m.PROMPT_TOKENS, over=SHOWN)),),
        ),
        stat(
            4,
            "Generated tokens",
            "As the engines count them.",
            "short",
            (Query(TENANT.increase(m.GENERATED_TOKENS)),),
        ),
        stat(
            5,
            "Part of all generated tokens",
            "Of the chosen models' tokens, over all tenants.",
            "percentunit",
            (Query(f"{TENANT.increase(m.GENERATED_TOKENS)} / {MODEL.increase(m.GENERATED_TOKENS)}"),),
        ),
        stat(
            6,
            "Refused or shed",
            "Requests answered with 4xx or 503: limits, a wrong request, or no room.",
            "percentunit",
            (
                Query(
                    f"({or_none(TENANT.where(TURNED_AWAY).increase(m.TENANT_REQUESTS))})"
                    f" / {TENANT.increase(m.TENANT_REQUESTS)}"
                ),
            ),
            thresholds=SOME_IS_BAD,
        ),
    ),
)

OVER_TIME = Row(
    "Over time",
    (
        Panel(
            10,
            "Requests per second by outcome",
            "refused: 4xx, of which 429 is a limit; shed: 503; client_gone: the client left.",
            "reqps",
            (Query(TENANT.rate(m.TENANT_REQUESTS, "outcome"), "{{outcome}}"),),
            stacked=True,
        ),
        Panel(
            11,
            "Tokens per second",
            "Prompt, cached of them, generated.",
            "short",
            (
                Query(TENANT.rate(m.PROMPT_TOKENS), "prompt"),
                Query(TENANT.rate(m.CACHED_TOKENS), "cached"),
                Query(TENANT.rate(m.GENERATED_TOKENS), "generated"),
            ),
        ),
        Panel(
            12,
            "Generated tokens per second by model",
            "Of the chosen tenants.",
            "short",
            (Query(TENANT.rate(m.GENERATED_TOKENS, "model"), "{{model}}"),),
            stacked=True,
        ),
        Panel(
            13,
            "Tokens of a request",
            "Mean prompt and mean answer.",
            "short",
            (
                Query(f"{TENANT.rate(m.PROMPT_TOKENS)} / {TENANT.rate(m.TENANT_REQUESTS)}", "prompt"),
                Query(f"{TENANT.rate(m.GENERATED_TOKENS)} / {TENANT.rate(m.TENANT_REQUESTS)}", "generated"),
            ),
            width=12,
        ),
        Panel(
            14,
            "Answered with 429, by limit",
            "Over all tenants of the chosen models: which limits are hit.",
            "reqps",
            (Query(MODEL.events(m.LIMITED, "model", "limit"), "{{model}} {{limit}}"),),
            width=12,
        ),
    ),
)

EVERYBODY = Row(
    "All tenants",
    (
        Panel(
            20,
            f"Most generated tokens, {TOP} tenants",
            "In the time shown. Beyond a bounded number of tenants the rest is one series, `other`.",
            "short",
            (Query(f"topk({TOP}, {MODEL.increase(m.GENERATED_TOKENS, 'tenant')})", "{{tenant}}"),),
            kind="bargauge",
        ),
        Panel(
            21,
            f"Most prompt tokens, {TOP} tenants",
            "In the time shown.",
            "short",
            (Query(f"topk({TOP}, {MODEL.increase(m.PROMPT_TOKENS, 'tenant')})", "{{tenant}}"),),
            kind="bargauge",
        ),
        Panel(
            22,
            f"Requests per second, {TOP} tenants",
            "Those who ask most.",
            "reqps",
            (Query(f"topk({TOP}, {MODEL.rate(m.TENANT_REQUESTS, 'tenant', over=LATELY)})", "{{tenant}}"),),
        ),
    ),
)

DASHBOARD = Dashboard(
    "baryon-tenant",
    "Baryon: one tenant",
    "What a tenant asks for, what it gets, and its part of the whole.",
    (Variable("tenant", m.TENANT_REQUESTS.name, "tenant"), Variable("model", m.DESIRED.name, "model")),
    (USE, OVER_TIME, EVERYBODY),
)
