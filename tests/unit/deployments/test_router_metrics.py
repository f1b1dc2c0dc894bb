"""How well predictions fit is counted on, whatever becomes of a model."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from deployments import router_metrics
from deployments.gateway.model_routers import ModelRouters
from deployments.router_metrics import RouterMetrics


class Untold:
    """In place of each of Ray's instruments, which need a cluster."""

    def __init__(self, *arguments: Any) -> None: ...

    def inc(self, *arguments: Any) -> None: ...

    set = inc


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    for kind in ("Counter", "Gauge"):
        monkeypatch.setattr(router_metrics, kind, Untold)
    return CollectorRegistry()


def test_a_model_that_was_gone_and_is_there_again_is_counted_on(registry: CollectorRegistry) -> None:
    metrics, routers = RouterMetrics(registry), ModelRouters()
    for hit_tokens in (100.0, 30.0):
        routers.named("m").router.accuracy.saw_hit(hit_tokens, 10)
        metrics.publish(routers)
        metrics.publish(routers)
        routers.keep_models(())
    labels = {"model": "m"}
    assert registry.get_sample_value("baryon_router_requests_total", labels) == 2
    assert registry.get_sample_value("baryon_router_predicted_hit_tokens_total", labels) == 130
