"""What is counted of requests: all of them, once, under labels that nobody can make many of."""

from array import array

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from deployments.gateway.request_metrics import RequestMetrics
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.stages import NAMES, QUEUE, ROUTE
from monitoring.label_slots import LabelSlots


def completed(model: str = "m", tenant: str = "acme", priority: int = 0) -> RequestRecord:
    record = RequestRecord("req-1", "gateway-1", "/v1/chat/completions")
    record.model, record.tenant, record.priority = model, tenant, priority
    record.replica, record.outcome, record.status = "r-1", "completed", 200
    record.prompt_tokens, record.cached_tokens, record.output_tokens = 100, 64, 11
    record.ttft_ms, record.slo_met = 40.0, True
    record.stages.spent_ms = [0.0] * len(NAMES)
    record.stages.spent_ms[QUEUE], record.stages.spent_ms[ROUTE] = 7.0, 0.03
    record.stages.end()
    return record


class Counted:
    def __init__(self, tenants: int = 400) -> None:
        self.registry = CollectorRegistry()
        self.observe = RequestMetrics(LabelSlots(None, tenants), self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        self.observe.flush()
        return self.registry.get_sample_value(name, labels)

    def series(self) -> int:
        self.observe.flush()
        return sum(line[0] != "#" for line in generate_latest(self.registry).decode().splitlines())


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_tokens_and_requests_are_the_tenants_and_the_models(counted: Counted) -> None:
    for _ in range(3):
        counted.observe(completed())
    counted.observe(completed(tenant="other-corp"))
    assert counted.value("baryon_prompt_tokens_total", model="m", tenant="acme") == 300
    assert counted.value("baryon_cached_prompt_tokens_total", model="m", tenant="acme") == 192
    assert counted.value("baryon_generated_tokens_total", model="m", tenant="acme") == 33
    assert counted.value("baryon_tenant_requests_total", model="m", tenant="acme", outcome="completed") == 3
    ended = {"model": "m", "priority": "0", "outcome": "completed", "status": "200"}
    assert counted.value("baryon_requests_total", **ended) == 4


def test_latencies_fall_where_they_were(counted: Counted) -> None:
    record = completed()
    record.gaps_ms = array("f", [4, 4, 4, 59_000])
    counted.observe(record)
    of_class = {"model": "m", "priority": "0"}
    assert counted.value("baryon_request_ttft_seconds_bucket", **of_class, le="0.035") == 0
    assert counted.value("baryon_request_ttft_seconds_bucket", **of_class, le="0.05") == 1
    assert counted.value("baryon_request_queue_seconds_bucket", **of_class, le="0.005") == 0
    assert counted.value("baryon_request_queue_seconds_bucket", **of_class, le="0.01") == 1
    assert counted.value("baryon_request_routing_seconds_bucket", **of_class, le="5e-05") == 1
    assert counted.value("baryon_request_itl_seconds_bucket", **of_class, le="0.005") == 3
    assert counted.value("baryon_request_itl_seconds_bucket", **of_class, le="30.0") == 3
    assert counted.value("baryon_request_itl_seconds_bucket", **of_class, le="60.0") == 4
    assert counted.value("baryon_request_itl_seconds_sum", **of_class) == pytest.approx(59.012)
    assert counted.value("baryon_request_stage_seconds_total", model="m", stage="queue") == pytest.approx(
        0.007, abs=1e-6
    )


def test_goodput_is_what_came_within_the_slo(counted: Counted) -> None:
    late, unjudged = completed(), completed()
    late.slo_met, unjudged.slo_met = False, None
    for record in (completed(), late, unjudged):
        counted.observe(record)
    of_class = {"model": "m", "priority": "0"}
    assert counted.value("baryon_slo_requests_total", **of_class) == 2
    assert counted.value("baryon_slo_met_requests_total", **of_class) == 1
    assert counted.value("baryon_goodput_tokens_total", **of_class) == 11


def test_refusals_are_counted_by_why(counted: Counted) -> None:
    shed = RequestRecord("req-2", "gateway-1", "/v1/completions", model="m", tenant="acme", priority=3)
    shed.outcome, shed.status, shed.error_code = "shed", 503, "at_capacity"
    nobody = RequestRecord("req-3", "gateway-1", "/v1/completions")
    nobody.outcome, nobody.status = "refused", 401
    counted.observe(shed)
    counted.observe(nobody)
    assert counted.value("baryon_requests_shed_total", model="m", reason="at_capacity") == 1
    ended = {"model": "unknown", "priority": "0", "outcome": "refused", "status": "401"}
    assert counted.value("baryon_requests_total", **ended) == 1
    assert counted.value("baryon_request_queue_seconds_count", model="m", priority="3") is None


def test_replicas_asked_in_vain_are_counted(counted: Counted) -> None:
    record = completed()
    record.tried = ("r-2", "r-3")
    counted.observe(record)
    assert counted.value("baryon_failovers_total", model="m") == 2


def test_many_tenants_become_one_and_none_is_lost() -> None:
    counted = Counted(tenants=20)
    for number in range(1_000):
        counted.observe(completed(tenant=f"tenant-{number}"))
    assert counted.value("baryon_prompt_tokens_total", model="m", tenant="tenant-19") == 100
    assert counted.value("baryon_prompt_tokens_total", model="m", tenant="tenant-20") is None
    assert counted.value("baryon_prompt_tokens_total", model="m", tenant="other") == 98_000
    most = counted.series()
    for number in range(1_000):
        counted.observe(completed(tenant=f"later-{number}"))
    assert counted.series() == most


def test_many_priorities_and_models_are_bounded_too(counted: Counted) -> None:
    for number in range(300):
        counted.observe(completed(model=f"model-{number}", priority=number))
    ended = {"outcome": "completed", "status": "200"}
    assert counted.value("baryon_requests_total", **ended, model="other", priority="other") == 300 - 256
