"""What a gateway on a real socket counts, of clients that behave and of those that do not."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from deployments.gateway.request_metrics import RequestMetrics
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway_metrics import GatewayMetrics
from monitoring.label_slots import LabelSlots
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, Stand, get, post, stand
from tests.unit.gateway.keys import keyring_of, new_key
from tests.unit.gateway.test_limits import STREAM

KEY = new_key()
AS_ACME = f"authorization: Bearer {KEY}\r\n"
OF_CLASS = {"model": MODEL, "priority": "5"}


class Counted:
    def __init__(self, gateway: Stand) -> None:
        self.gateway, self.registry = gateway, CollectorRegistry()
        self.metrics = RequestMetrics(LabelSlots(None, 400), self.registry)
        gateway.gateway.app.observers.append(self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        self.metrics.flush()
        return self.registry.get_sample_value(f"baryon_{name}", labels)

    def page(self) -> str:
        self.metrics.flush()
        return generate_latest(self.registry).decode()


@pytest.fixture
async def counted(start_engine: StartEngine) -> AsyncIterator[Counted]:
    engine = await start_engine(STREAM)
    keyring = keyring_of({KEY: Tenant("acme", priority=5)})
    async with stand([engine], 8, GatewaySettings(), keyring) as gateway:
        yield Counted(gateway)


async def test_a_stream_is_counted_to_its_last_token(counted: Counted) -> None:
    for _ in range(2):
        answer = await counted.gateway.ask(post(body=STREAMING, headers=AS_ACME))
        assert answer.status == 200
    await counted.gateway.settled()
    assert counted.value("prompt_tokens_total", model=MODEL, tenant="acme") == 80
    assert counted.value("generated_tokens_total", model=MODEL, tenant="acme") == 120
    assert counted.value("request_e2e_seconds_count", **OF_CLASS) == 2
    assert counted.value("request_ttft_seconds_count", **OF_CLASS) == 2
    assert counted.value("slo_met_requests_total", **OF_CLASS) == 2
    assert counted.value("goodput_tokens_total", **OF_CLASS) == 120


async def test_what_hostile_clients_make_up_is_no_label(counted: Counted) -> None:
    async def come(numbers: range) -> None:
        for number in numbers:
            await counted.gateway.ask(post(body={**STREAMING, "model": f"made-up-{number}"}, headers=AS_ACME))
            await counted.gateway.ask(post(f"/v1/made-up-{number}", headers=AS_ACME))
            await counted.gateway.ask(post(headers=f"authorization: Bearer made-up-{number}\r\n"))
            await counted.gateway.ask(post(body={**STREAMING, "user": f"made-up-{number}"}, headers=AS_ACME))
        await counted.gateway.settled()

    await come(range(5))
    lines = len(counted.page().splitlines())
    await come(range(5, 50))
    assert len(counted.page().splitlines()) == lines
    assert "made-up" not in counted.page()
    ended = {"model": "unknown", "priority": "5", "outcome": "refused", "status": "404"}
    assert counted.value("requests_total", **ended) == 50


async def test_a_wrong_key_is_counted_on_every_route(counted: Counted) -> None:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    wrong = "authorization: Bearer made-up\r\n"
    for request in (
        post(headers=wrong),
        *(get(path, wrong) for path in ("/v1/models", "/v1/models/m", "/v1/no-route")),
    ):
        assert (await counted.gateway.ask(request)).status == 401
    await counted.gateway.ask(get("/v1/models"))
    for _ in range(2):
        metrics.publish(counted.gateway.gateway.app, state_silent_s=0.0)
    assert registry.get_sample_value("baryon_key_errors_total", {"reason": "invalid_api_key"}) == 4
    assert registry.get_sample_value("baryon_key_errors_total", {"reason": "missing_api_key"}) == 1


async def test_a_gateway_tells_what_it_has_to_do_and_whom_it_limits(counted: Counted) -> None:
    app, registry = counted.gateway.gateway.app, CollectorRegistry()
    metrics = GatewayMetrics(registry)
    app.spending.limited[MODEL, "tokens_per_minute"] += 3
    app.routers.named(MODEL)
    for _ in range(2):
        metrics.publish(app, state_silent_s=3.5)
    labels = {"model": MODEL, "limit": "tokens_per_minute"}
    assert registry.get_sample_value("baryon_requests_limited_total", labels) == 3
    assert registry.get_sample_value("baryon_queue_waiting_requests", {"model": MODEL}) == 0
    assert registry.get_sample_value("baryon_requests_in_flight") == 0
    assert registry.get_sample_value("baryon_gateways") == 1
    assert registry.get_sample_value("baryon_state_silent_seconds") == 3.5


async def test_how_long_ago_state_told_of_keys() -> None:
    now_s = 100.0
    keyring, registry = Keyring(lambda: now_s), CollectorRegistry()
    async with stand([], 8, GatewaySettings(), keyring) as gateway:
        metrics, now_s = GatewayMetrics(registry), 130.0
        metrics.publish(gateway.gateway.app, state_silent_s=0.0)
        assert registry.get_sample_value("baryon_keys_age_seconds") == 30.0
