"""How well the router's predictions fit what came, as metrics that Ray exports for Prometheus."""

from dataclasses import asdict

from ray.util.metrics import Counter, Gauge

from deployments.gateway.model_routers import ModelRouters

COUNTED = {
    "requests": ("baryon_router_requests", "Finished requests whose engine told its cache hit."),
    "predicted_hit_tokens": ("baryon_router_predicted_hit_tokens", "Prompt tokens expected in the prefix cache."),
    "actual_hit_tokens": ("baryon_router_actual_hit_tokens", "Prompt tokens that were in the prefix cache."),
    "hit_error_tokens": ("baryon_router_hit_error_tokens", "Sum of |predicted - actual| hit."),
    "ttfts": ("baryon_router_ttfts", "Requests whose time to first token is known."),
    "predicted_ttft_ms": ("baryon_router_predicted_ttft_ms", "Sum of predicted times to first token."),
    "actual_ttft_ms": ("baryon_router_actual_ttft_ms", "Sum of actual times to first token, from dispatch."),
    "ttft_error_ms": ("baryon_router_ttft_error_ms", "Sum of |predicted - actual| time to first token."),
}


class RouterMetrics:
    """Publish as often as a scrape is worth; the request path only adds to sums."""

    def __init__(self) -> None:
        labels = ("model",)
        self._counters = {field: Counter(name, text, labels) for field, (name, text) in COUNTED.items()}
        self._index = Gauge("baryon_router_prefix_index_entries", "Prompt blocks in the prefix index.", labels)
        self._told: dict[tuple[str, str], float] = {}

    def publish(self, routers: ModelRouters) -> None:
        for model, known in routers.items():
            self._index.set(known.router.index.entries(), {"model": model})
            for field, total in asdict(known.router.accuracy).items():
                more = total - self._told.get((model, field), 0.0)
                self._told[model, field] = total
                if more > 0:
                    self._counters[field].inc(more, {"model": model})
