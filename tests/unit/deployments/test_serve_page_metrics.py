"""The Ray dashboard's Serve pages find our requests under the names that they ask for."""

import importlib.util
import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployments import serve_page_metrics
from deployments.gateway.request_record import RequestRecord
from deployments.serve_page_metrics import SAMPLED, ServePageMetrics

PANELS = "dashboard/modules/metrics/dashboards"
told: dict[str, list[tuple[float, dict[str, str]]]] = defaultdict(list)


class Told:
    """In place of each of Ray's instruments, which need a cluster."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name, self.tags = name, set(arguments[-1])

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == self.tags
        told[self.name].append((value, tags))

    observe = set = inc


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> ServePageMetrics:
    told.clear()
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(serve_page_metrics, kind, Told)
    return ServePageMetrics("gw-1")


def ended(status: int = 200, replica: str = "r-1") -> RequestRecord:
    record = RequestRecord("req", "gateway", "/v1/chat/completions", model="m", replica=replica)
    record.status = status
    record.stages.end()
    return record


def app() -> Any:
    ledger = SimpleNamespace(own_requests=lambda: {"r-1": 2})
    routers = SimpleNamespace(items=lambda: [("m", SimpleNamespace(router=SimpleNamespace(ledger=ledger)))])
    return SimpleNamespace(in_flight=lambda: 3, room=SimpleNamespace(waiting=lambda _: 1), routers=routers)


def test_a_request_is_one_of_its_model_of_the_gateway_and_of_its_replica(metrics: ServePageMetrics) -> None:
    for _ in range(100):
        metrics(ended())
    metrics(ended(503, replica=""))
    metrics.publish(app(), {"m": "m-app"})
    route = {"route": "/v1/chat/completions"}
    http = {**route, "method": "POST", "application": "m-app"}
    assert told["serve_num_http_requests"] == [(100, http | {"status_code": "200"}), (1, http | {"status_code": "503"})]
    assert told["serve_num_http_error_requests"] == [(1, http | {"error_code": "503"})]
    gateway = {"application": "gateway", "deployment": "Gateway", "replica": "gw-1", **route}
    replica = {"application": "m-app", "deployment": "Replica", "replica": "r-1", **route}
    assert told["serve_deployment_request_counter"] == [(100, gateway), (100, replica), (1, gateway)]
    assert len(told["serve_http_request_latency_ms"]) == SAMPLED + 1
    metrics.publish(app(), {"m": "m-app"})
    assert len(told["serve_num_http_requests"]) == 2


def test_rays_panels_ask_for_these_names() -> None:
    """A Ray that renames them fails here, and not as an empty panel."""
    found = importlib.util.find_spec("ray")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / PANELS
    asked = "".join((folder / f"{name}_dashboard_panels.py").read_text() for name in ("serve", "serve_deployment"))
    source = Path(serve_page_metrics.__file__).read_text()
    made = re.findall(r'(Counter|Gauge|Histogram)\(\s*"(serve_\w+)"', source)
    assert len(made) == 8
    for kind, name in made:
        suffix = {"Counter": "_total", "Gauge": "", "Histogram": "_bucket"}[kind]
        assert re.search(rf"ray_{name}{suffix}\b", asked), name
