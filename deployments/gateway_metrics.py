"""What a gateway has to do now, whom it has refused, how long state is silent: told with its requests."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter

from deployments.gateway.app import GatewayApp
from monitoring import metrics
from monitoring.instruments import GaugeRows, counter, gauge


class GatewayMetrics:
    """`registry` None: this process writes them to files."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        gauge(metrics.GATEWAYS, registry).set(1)
        self._in_flight = gauge(metrics.IN_FLIGHT, registry)
        self._state_silent = gauge(metrics.STATE_SILENT, registry)
        self._keys_age = gauge(metrics.KEYS_AGE, registry)
        self._waiting = GaugeRows(metrics.WAITING, registry)
        self._limited = counter(metrics.LIMITED, registry)
        self._key_errors = counter(metrics.KEY_ERRORS, registry)
        self._told: dict[Counter, int] = {}

    def publish(self, app: GatewayApp, state_silent_s: float) -> None:
        self._in_flight.set(app.in_flight())
        self._state_silent.set(state_silent_s)
        self._keys_age.set(app.door.keys_age_s)
        self._waiting.show({(model,): app.room.waiting(model) for model, _ in app.routers.items()})
        self._count(self._limited, app.spending.limited.items())
        self._count(self._key_errors, (((reason,), total) for reason, total in app.key_errors.items()))

    def _count(self, counter: Counter, totals: Iterable[tuple[tuple[str, ...], int]]) -> None:
        for labels, total in totals:
            child = counter.labels(*labels)
            child.inc(total - self._told.get(child, 0))
            self._told[child] = total
