"""What the autoscaler sees and wants, as metrics that Ray exports for Prometheus."""

from collections import Counter as Counted
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from deployments.scaled_model import ScaledModel
from deployments.scaling import Scaling

LABELS = ("model",)


class ScalingMetrics:
    """Publish after each decision."""

    def __init__(self) -> None:
        self._target = Gauge("baryon_autoscaler_target_replicas", "Replicas asked of Ray Serve.", LABELS)
        self._running = Gauge("baryon_autoscaler_running_replicas", "Replicas that serve.", LABELS)
        self._starting = Gauge("baryon_autoscaler_starting_replicas", "Replicas asked for and not ready.", LABELS)
        self._load = Gauge("baryon_autoscaler_load_replicas", "Replicas kept busy by the present demand.", LABELS)
        self._forecast = Gauge("baryon_autoscaler_forecast_load_replicas", "The same, a cold start ahead.", LABELS)
        self._bearable = Gauge("baryon_autoscaler_bearable_load", "Load that one replica bears within the SLO.", LABELS)
        self._cold_start = Gauge("baryon_autoscaler_cold_start_seconds", "Nine of ten starts were faster.", LABELS)
        self._changes = Counter("baryon_autoscaler_changes", "Replicas asked for or given up.", (*LABELS, "direction"))
        self._targets: Counted[str] = Counted()

    def publish(self, scaling: Scaling) -> None:
        for model, known in scaling.models().items():
            self._publish_counts(model, known)
            decision = scaling.decided.get(model)
            if decision is not None:
                labels = {"model": model}
                self._load.set(decision.load, labels)
                self._forecast.set(decision.forecast_load, labels)
                self._bearable.set(decision.bearable_load, labels)

    def _publish_counts(self, model: str, known: ScaledModel) -> None:
        labels: Mapping[str, str] = {"model": model}
        self._target.set(known.target, dict(labels))
        self._running.set(len(known.running), dict(labels))
        self._starting.set(known.starting, dict(labels))
        self._cold_start.set(known.cold_start.expected_s, dict(labels))
        changed = known.target - self._targets.get(model, known.target)
        self._targets[model] = known.target
        if changed:
            direction = "up" if changed > 0 else "down"
            self._changes.inc(abs(changed), {"model": model, "direction": direction})
