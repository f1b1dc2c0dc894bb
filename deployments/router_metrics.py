"""How well the router's predictions fit what came: published every few seconds, by Ray too."""

from dataclasses import asdict

from prometheus_client import CollectorRegistry
from ray.util.metrics import Counter, Gauge

from deployments.gateway.model_routers import ModelRouter, ModelRouters
from monitoring import metrics
from monitoring.instruments import GaugeRows, counter, exact
from monitoring.metrics import Metric

SECONDS = 1e-3
COUNTED: dict[str, tuple[Metric, float]] = {
    "requests": (metrics.ROUTED, 1),
    "predicted_hit_tokens": (metrics.PREDICTED_HIT, 1),
    "actual_hit_tokens": (metrics.ACTUAL_HIT, 1),
    "hit_error_tokens": (metrics.HIT_ERROR, 1),
    "ttfts": (metrics.ROUTED_TTFTS, 1),
    "predicted_ttft_ms": (metrics.PREDICTED_TTFT, SECONDS),
    "actual_ttft_ms": (metrics.ACTUAL_TTFT, SECONDS),
    "ttft_error_ms": (metrics.TTFT_ERROR, SECONDS),
}


class RouterMetrics:
    """The request path only adds to sums, which begin anew with a model that was gone. `registry` None: this process
    writes them to files.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._counters = {field: counter(metric, registry) for field, (metric, _) in COUNTED.items()}
        self._rays = {field: Counter(f"baryon_router_{field}", m.help, ("model",)) for field, (m, _) in COUNTED.items()}
        self._index = GaugeRows(metrics.INDEX_ENTRIES, registry)
        self._rays_index = Gauge(metrics.INDEX_ENTRIES.name, metrics.INDEX_ENTRIES.help, ("model",))
        self._told: dict[str, tuple[ModelRouter, dict[str, float]]] = {}

    def publish(self, routers: ModelRouters) -> None:
        entries = {model: known.router.index.entries() for model, known in routers.items()}
        self._index.show({(model,): count for model, count in entries.items()})
        for model, count in entries.items():
            self._rays_index.set(count, {"model": model})
        now = {model: (known, asdict(known.router.accuracy)) for model, known in routers.items()}
        for model, (known, totals) in now.items():
            teller, told = self._told.get(model, (known, {}))
            for field, total in totals.items():
                more = total - (told.get(field, 0.0) if teller is known else 0.0)
                self._counters[field].labels(model).inc(exact(more * COUNTED[field][1]))
                if more > 0:
                    self._rays[field].inc(more, {"model": model})
        self._told = now
