"""The autoscaler: how many replicas, why, and how fast they come."""

from monitoring import metrics as m
from monitoring.dashboards.by_model import MODEL
from monitoring.panel import Dashboard, Panel, Query, Row, Variable
from monitoring.promql import SHOWN, or_none

NAME = "{{model}}"

COUNTS = Row(
    "How many",
    (
        Panel(
            1,
            "Replicas desired",
            "What state asks of Ray Serve.",
            "none",
            (Query(MODEL.total(m.DESIRED, "model"), NAME),),
        ),
        Panel(2, "Replicas running", "That serve.", "none", (Query(MODEL.total(m.RUNNING, "model"), NAME),)),
        Panel(
            3,
            "Replicas starting",
            "Asked for and not ready. Long ones: below, how long the oldest start takes.",
            "none",
            (Query(MODEL.total(m.STARTING, "model"), NAME),),
        ),
        Panel(
            4,
            "Bounds",
            "min and max of baryon.yaml, beside what is desired. At max with a queue: raise max or add GPUs.",
            "none",
            (
                Query(MODEL.total(m.LEAST, "model"), "min " + NAME),
                Query(MODEL.total(m.MOST, "model"), "max " + NAME),
                Query(MODEL.total(m.DESIRED, "model"), "desired " + NAME),
            ),
            width=12,
        ),
        Panel(
            5,
            "Replicas by stage",
            "Of all chosen models.",
            "none",
            (Query(MODEL.total(m.REPLICAS, "stage"), "{{stage}}"),),
            width=12,
            stacked=True,
        ),
    ),
)

REASONS = Row(
    "Why",
    (
        Panel(
            10,
            "Reason of the last decision",
            "All that the decision saw is in `baryon status --why`.",
            "none",
            (Query(f"{MODEL.highest(m.REASON, 'model', 'reason')} == 1", "{{model}}: {{reason}}"),),
            kind="state-timeline",
            width=24,
        ),
        Panel(
            11,
            "Load, now and a cold start ahead",
            "Replicas kept busy by the demand.",
            "none",
            (
                Query(MODEL.total(m.LOAD, "model"), "now " + NAME),
                Query(MODEL.total(m.FORECAST_LOAD, "model"), "forecast " + NAME),
            ),
        ),
        Panel(
            12,
            "Load that one replica bears",
            "Within the SLO, learned. It falls when requests get harder or the SLO stricter; more are asked for then.",
            "none",
            (Query(MODEL.highest(m.BEARABLE_LOAD, "model"), NAME),),
        ),
        Panel(
            13,
            "Waiting for a replica",
            "What the autoscaler takes as demand.",
            "none",
            (Query(MODEL.total(m.WAITING, "model"), NAME),),
        ),
    ),
)

CHANGES = Row(
    "Changes and starts",
    (
        Panel(
            20,
            "Replicas asked for and given up",
            "In the time shown. Much of both: it flaps.",
            "none",
            (
                Query(
                    or_none(MODEL.increase(m.CHANGES, "model", "direction", over=SHOWN), "model", "direction"),
                    "{{model}} {{direction}}",
                ),
            ),
            kind="bargauge",
        ),
        Panel(
            21,
            "Expected cold start",
            "Nine of ten starts were faster.",
            "s",
            (Query(MODEL.highest(m.COLD_START, "model"), NAME),),
        ),
        Panel(
            22,
            "Oldest start under way",
            "How long it has taken so far; 0: nothing starts.",
            "s",
            (Query(MODEL.highest(m.OLDEST_START, "model"), NAME),),
        ),
        Panel(
            23,
            "Replicas given up, by cause",
            "In the time shown: crashed, hung, out of memory and others. `baryon status` has their last words.",
            "none",
            (
                Query(
                    or_none(MODEL.increase(m.REPLICA_FAILURES, "model", "cause"), "model", "cause"),
                    "{{model}} {{cause}}",
                ),
            ),
            kind="bargauge",
            width=12,
        ),
        Panel(
            24,
            "SLO attainment",
            "What the autoscaler works for.",
            "percentunit",
            (Query(MODEL.share(m.SLO_MET, m.SLO_REQUESTS, "model"), NAME),),
            width=12,
            highest=1.0,
        ),
    ),
)

DASHBOARD = Dashboard(
    "baryon-autoscaler",
    "Baryon: autoscaler",
    "How many replicas, why, and how fast they come.",
    (Variable("model", m.DESIRED.name, "model"),),
    (COUNTS, REASONS, CHANGES),
)
