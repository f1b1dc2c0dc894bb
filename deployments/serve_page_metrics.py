"""What the Ray dashboard's Serve pages ask for, by Serve's own names. Requests go past Serve, so it counts none itself.

Each request is one of the gateway's and one of the replica that took it. Of latencies a fair sample is told: Ray takes
observations singly, and a request may not cost so much.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from ray.util.metrics import Counter, Gauge, Histogram

from deployments.gateway.app import GatewayApp
from deployments.gateway.request_record import RequestRecord

SAMPLED = 16
LATENCY_BUCKETS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 1000, 2000, 5000, 10_000, 60_000, 120_000, 300_000]
GATEWAY = "gateway", "Gateway"
MODELS_DEPLOYMENT = "Replica"
FAILED_STATUS = 400

DEPLOYMENT_TAGS = ("deployment", "replica", "application")
HANDLE_TAGS = ("handle", "actor_id")
Key = tuple[str, str, str, int]


@dataclass(slots=True)
class Ended:
    """Requests of one model, route, replica and status since they were told last; some of their times."""

    requests: int = 0
    sampled_ms: list[float] = field(default_factory=list)


class ServePageMetrics:
    """An observer of requests, which publishes every few seconds. `replica`: what Serve calls this gateway."""

    def __init__(self, replica: str, random: Random | None = None) -> None:
        self._replica = replica
        self._random = random or Random()  # noqa: S311
        self._ended: dict[Key, Ended] = {}
        http = ("route", "method", "application")
        of_deployment = (*DEPLOYMENT_TAGS, "route")
        self._http = Counter("serve_num_http_requests", "HTTP requests.", (*http, "status_code"))
        self._http_errors = Counter("serve_num_http_error_requests", "Errored HTTP responses.", (*http, "error_code"))
        self._http_ms = Histogram(
            "serve_http_request_latency_ms", "Of HTTP requests.", LATENCY_BUCKETS_MS, (*http, "status_code")
        )
        self._requests = Counter("serve_deployment_request_counter", "Requests processed.", of_deployment)
        self._errors = Counter("serve_deployment_error_counter", "Failures.", (*of_deployment, "exception_type"))
        self._ms = Histogram("serve_deployment_processing_latency_ms", "Latency.", LATENCY_BUCKETS_MS, of_deployment)
        self._running = Gauge("serve_replica_processing_queries", "Being processed now.", DEPLOYMENT_TAGS)
        self._queued = Gauge("serve_deployment_queued_queries", "Waiting now.", (*DEPLOYMENT_TAGS[::2], *HANDLE_TAGS))
        self._shown: set[tuple[str, str]] = set()

    def __call__(self, record: RequestRecord) -> None:
        key = record.model, record.path, record.replica, record.status
        ended = self._ended.get(key)
        if ended is None:
            ended = self._ended[key] = Ended()
        ended.requests += 1
        if len(ended.sampled_ms) < SAMPLED:
            ended.sampled_ms.append(record.e2e_ms)
        elif (slot := self._random.randrange(ended.requests)) < SAMPLED:
            ended.sampled_ms[slot] = record.e2e_ms

    def publish(self, app: GatewayApp, applications: Mapping[str, str]) -> None:
        """`applications`: of models, by name."""
        ended, self._ended = self._ended, {}
        for key, told in ended.items():
            self._publish_ended(key, told, applications.get(key[0], GATEWAY[0]))
        self._running.set(app.in_flight(), _deployment(*GATEWAY, self._replica))
        for model, application in applications.items():
            tags = {"application": application, "deployment": MODELS_DEPLOYMENT}
            self._queued.set(app.room.waiting(model), {**tags, "handle": GATEWAY[0], "actor_id": self._replica})
        self._publish_running(app, applications)

    def _publish_running(self, app: GatewayApp, applications: Mapping[str, str]) -> None:
        """This gateway's own, on each replica; one that has none any more is told once."""
        running = {
            (applications[model], replica): requests
            for model, known in app.routers.items()
            if model in applications
            for replica, requests in known.router.ledger.own_requests().items()
        }
        for application, replica in self._shown | running.keys():
            tags = _deployment(application, MODELS_DEPLOYMENT, replica)
            self._running.set(running.get((application, replica), 0), tags)
        self._shown = set(running)

    def _publish_ended(self, key: Key, told: Ended, application: str) -> None:
        _, route, replica, status = key
        http = {"route": route, "method": "POST", "application": application}
        self._http.inc(told.requests, {**http, "status_code": str(status)})
        if status >= FAILED_STATUS:
            self._http_errors.inc(told.requests, {**http, "error_code": str(status)})
        for tags in self._passed(application, route, replica):
            self._requests.inc(told.requests, tags)
            if status >= FAILED_STATUS:
                self._errors.inc(told.requests, {**tags, "exception_type": f"HTTP {status}"})
            for ms in told.sampled_ms:
                self._ms.observe(ms, tags)
        for ms in told.sampled_ms:
            self._http_ms.observe(ms, {**http, "status_code": str(status)})

    def _passed(self, application: str, route: str, replica: str) -> Iterator[dict[str, str]]:
        yield {**_deployment(*GATEWAY, self._replica), "route": route}
        if replica:
            yield {**_deployment(application, MODELS_DEPLOYMENT, replica), "route": route}


def _deployment(application: str, deployment: str, replica: str) -> dict[str, str]:
    return {"application": application, "deployment": deployment, "replica": replica}
