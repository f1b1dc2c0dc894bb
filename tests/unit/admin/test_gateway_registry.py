"""Which gateways there are."""

from deployments.gateway_registry import SILENT_GATEWAY_IS_GONE_S, GatewayRegistry, GatewayReport


def report(name: str, started_at_s: float = 1.0) -> GatewayReport:
    return GatewayReport(name, "http://127.0.0.1:1", "secret", "n", 7, started_at_s)


def test_one_that_is_silent_disappears_and_one_that_comes_back_is_there() -> None:
    registry = GatewayRegistry()
    registry.report(report("a"), 0.0)
    registry.report(report("b", 2.0), SILENT_GATEWAY_IS_GONE_S - 1)
    assert [one.gateway_id for one in registry.gateways(SILENT_GATEWAY_IS_GONE_S - 1)] == ["a", "b"]
    assert [one.gateway_id for one in registry.gateways(SILENT_GATEWAY_IS_GONE_S)] == ["b"]
    registry.report(report("a"), SILENT_GATEWAY_IS_GONE_S + 1)
    assert [one.gateway_id for one in registry.gateways(SILENT_GATEWAY_IS_GONE_S + 1)] == ["a", "b"]


def test_one_that_says_goodbye_is_gone_at_once() -> None:
    registry = GatewayRegistry()
    registry.report(report("a"), 0.0)
    registry.forget("a")
    registry.forget("a")
    assert registry.gateways(0.0) == ()


def test_its_secret_is_in_no_log() -> None:
    assert "secret" not in repr(report("a"))
