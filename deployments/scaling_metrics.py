"""What the autoscaler sees and wants, and how replicas are: published after each decision. Ray exports counts too."""

from collections import Counter as Counted
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from ray.util.metrics import Counter, Gauge

from cluster.autoscaler.decision import Decision
from deployments.scaled_model import ScaledModel
from deployments.scaling import Scaling
from monitoring import metrics
from monitoring.instruments import GaugeRows, counter
from monitoring.metrics import Metric

LABELS = ("model",)
RAYS = {
    metrics.DESIRED: "baryon_autoscaler_target_replicas",
    metrics.RUNNING: "baryon_autoscaler_running_replicas",
    metrics.STARTING: "baryon_autoscaler_starting_replicas",
    metrics.LOAD: "baryon_autoscaler_load_replicas",
    metrics.FORECAST_LOAD: "baryon_autoscaler_forecast_load_replicas",
    metrics.BEARABLE_LOAD: "baryon_autoscaler_bearable_load",
    metrics.COLD_START: "baryon_autoscaler_cold_start_seconds",
}
BY_MODEL = (*RAYS, metrics.LEAST, metrics.MOST, metrics.SLO_TTFT, metrics.SLO_TPOT)
REASONS = {
    "enough": "enough",
    "more is coming": "more_is_coming",
    "work waits": "work_waits",
    "not needed": "not_needed",
    "nobody asks": "nobody_asks",
    "one request alone misses the SLO": "slo_out_of_reach",
}
LIMITED = "limited to"
SERVES = frozenset({"ready", "drain"})


class ScalingMetrics:
    """`registry` None: this process writes them to files."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._gauges = {metric: GaugeRows(metric, registry) for metric in BY_MODEL}
        self._rays = {metric: Gauge(name, metric.help, LABELS) for metric, name in RAYS.items()}
        self._reasons = GaugeRows(metrics.REASON, registry)
        self._stages = GaugeRows(metrics.REPLICAS, registry)
        self._oldest = GaugeRows(metrics.OLDEST_START, registry)
        self._changes = counter(metrics.CHANGES, registry)
        self._rays_changes = Counter("baryon_autoscaler_changes", metrics.CHANGES.help, (*LABELS, "direction"))
        self._failures = counter(metrics.REPLICA_FAILURES, registry)
        self._targets: Counted[str] = Counted()

    def publish(self, scaling: Scaling, replicas: Sequence[Mapping[str, Any]], now_s: float) -> None:
        """`replicas`: as they reported to state."""
        models = scaling.models()
        values = {model: counts_of(known) | loads_of(scaling.decided.get(model)) for model, known in models.items()}
        for metric, rows in self._gauges.items():
            rows.show({(model,): told[metric] for model, told in values.items() if metric in told})
        for metric, ray in self._rays.items():
            for model, told in values.items():
                if metric in told:
                    ray.set(told[metric], {"model": model})
        decided = {model: decision for model, decision in scaling.decided.items() if model in models}
        self._reasons.show({(model, reason_word(decision.reason)): 1 for model, decision in decided.items()})
        self._stages.show(Counted((row["model"], row["stage"]) for row in replicas))
        self._oldest.show(dict.fromkeys(((model,) for model in models), 0.0) | oldest_starts(replicas, now_s))
        for model, known in models.items():
            self._count_change(model, known)

    def failed(self, model: str, cause: str) -> None:
        """A replica was given up."""
        self._failures.labels(model, cause).inc()

    def _count_change(self, model: str, known: ScaledModel) -> None:
        changed = known.target - self._targets.get(model, known.target)
        self._targets[model] = known.target
        if changed:
            direction = "up" if changed > 0 else "down"
            self._changes.labels(model, direction).inc(abs(changed))
            self._rays_changes.inc(abs(changed), {"model": model, "direction": direction})


def counts_of(known: ScaledModel) -> dict[Metric, float]:
    promise, limits = known.card.promise, known.card.limits
    return {
        metrics.DESIRED: known.target,
        metrics.RUNNING: len(known.running),
        metrics.STARTING: known.starting,
        metrics.COLD_START: known.cold_start.expected_s,
        metrics.LEAST: limits.least,
        metrics.MOST: limits.most,
        metrics.SLO_TTFT: promise.ttft_ms / 1000,
        metrics.SLO_TPOT: promise.tpot_ms / 1000,
    }


def loads_of(decision: Decision | None) -> dict[Metric, float]:
    if decision is None:
        return {}
    return {
        metrics.LOAD: decision.load,
        metrics.FORECAST_LOAD: decision.forecast_load,
        metrics.BEARABLE_LOAD: decision.bearable_load,
    }


def reason_word(reason: str) -> str:
    """One of a few words, whatever numbers the reason names."""
    if LIMITED in reason:
        return "limited"
    return next((word for beginning, word in REASONS.items() if reason.startswith(beginning)), "other")


def oldest_starts(replicas: Sequence[Mapping[str, Any]], now_s: float) -> dict[tuple[str, ...], float]:
    """Of each model that has a replica on its way, in seconds."""
    oldest: dict[tuple[str, ...], float] = {}
    for row in replicas:
        if row["stage"] not in SERVES:
            key = (row["model"],)
            oldest[key] = max(oldest.get(key, 0.0), now_s - row["started_at_s"])
    return oldest
