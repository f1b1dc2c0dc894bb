"""What a gateway has to do now, whom it has refused for a limit, how long state is silent: told every few seconds."""

from prometheus_client import CollectorRegistry

from deployments.gateway.app import GatewayApp
from monitoring import metrics
from monitoring.instruments import GaugeRows, counter, gauge


class GatewayMetrics:
    """`registry` None: this process writes them to files."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        gauge(metrics.GATEWAYS, registry).set(1)
        self._in_flight = gauge(metrics.IN_FLIGHT, registry)
        self._state_silent = gauge(metrics.STATE_SILENT, registry)
        self._waiting = GaugeRows(metrics.WAITING, registry)
        self._limited = counter(metrics.LIMITED, registry)
        self._told: dict[tuple[str, str], int] = {}

    def publish(self, app: GatewayApp, state_silent_s: float) -> None:
        self._in_flight.set(app.in_flight())
        self._state_silent.set(state_silent_s)
        self._waiting.show({(model,): app.room.waiting(model) for model, _ in app.routers.items()})
        for key, total in app.spending.limited.items():
            if more := total - self._told.get(key, 0):
                self._limited.labels(*key).inc(more)
            self._told[key] = total
