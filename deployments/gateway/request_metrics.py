"""Counts requests as they end. An observer of `RequestRecord`; children of labels are looked up once and kept."""

from bisect import bisect_left
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter

from deployments.gateway.request_record import RequestRecord
from monitoring import metrics
from monitoring.instruments import counter, exact, histogram
from monitoring.label_slots import OTHER, LabelSlots

NO_MODEL = "unknown"
UNAVAILABLE, UNAUTHORIZED = 503, 401
KNOWN_CLASSES = 256
ITL_BOUNDS_MS = tuple(1000 * bound for bound in metrics.ITL.buckets)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(dict[Key, Value], Generic[Key, Value]):
    """Made when first asked for."""

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self._make = make

    def __missing__(self, key: Key) -> Value:
        made = self[key] = self._make(key)
        return made


class Instruments:
    """The metrics themselves. `registry` None: this process writes them to files."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.ttft = histogram(metrics.TTFT, registry)
        self.tpot = histogram(metrics.TPOT, registry)
        self.itl = histogram(metrics.ITL, registry)
        self.e2e = histogram(metrics.E2E, registry)
        self.queue = histogram(metrics.QUEUE, registry)
        self.routing = histogram(metrics.ROUTING, registry)
        self.stages = counter(metrics.STAGES, registry)
        self.requests = counter(metrics.REQUESTS, registry)
        self.failovers = counter(metrics.FAILOVERS, registry)
        self.prompt_tokens = counter(metrics.PROMPT_TOKENS, registry)
        self.cached_tokens = counter(metrics.CACHED_TOKENS, registry)
        self.generated_tokens = counter(metrics.GENERATED_TOKENS, registry)
        self.tenant_requests = counter(metrics.TENANT_REQUESTS, registry)
        self.slo_requests = counter(metrics.SLO_REQUESTS, registry)
        self.slo_met = counter(metrics.SLO_MET, registry)
        self.goodput_tokens = counter(metrics.GOODPUT_TOKENS, registry)
        self.shed = counter(metrics.SHED, registry)
        self.key_errors = counter(metrics.KEY_ERRORS, registry)


class ClassMetrics:
    """Of one model and priority."""

    def __init__(self, known: Instruments, model: str, priority: str) -> None:
        self._known, self._labels = known, (model, priority)
        self.requests: Kept[tuple[str, int], Counter] = Kept(
            lambda ended: known.requests.labels(model, priority, ended[0], str(ended[1]))
        )
        self.shed: Kept[str, Counter] = Kept(lambda reason: known.shed.labels(model, reason))

    @cached_property
    def served(self) -> "ServedMetrics":
        return ServedMetrics(self._known, *self._labels)

    def ended(self, record: RequestRecord) -> None:
        self.requests[record.outcome, record.status].inc()
        if record.status == UNAVAILABLE:
            self.shed[record.error_code].inc()
        if record.replica or record.slo_met is not None:
            self.served.ended(record)


class ServedMetrics:
    """Of those requests that a replica took or should have taken."""

    def __init__(self, known: Instruments, model: str, priority: str) -> None:
        labels = (model, priority)
        self.stages: Kept[str, Counter] = Kept(lambda stage: known.stages.labels(model, stage))
        self.failovers = known.failovers.labels(model)
        self.e2e = known.e2e.labels(*labels)
        self.queue = known.queue.labels(*labels)
        self.routing = known.routing.labels(*labels)
        self.slo_requests = known.slo_requests.labels(*labels)
        self.slo_met = known.slo_met.labels(*labels)
        self.goodput_tokens = known.goodput_tokens.labels(*labels)
        self.ttft = known.ttft.labels(*labels)
        self.tpot = known.tpot.labels(*labels)
        self.itl = known.itl.labels(*labels)

    def ended(self, record: RequestRecord) -> None:
        if record.slo_met is not None:
            self.slo_requests.inc()
            if record.slo_met:
                self.slo_met.inc()
                self.goodput_tokens.inc(record.output_tokens)
        if record.replica:
            self._went_somewhere(record)
        if record.outcome == "completed":
            self._completed(record)
        if record.gaps_ms:
            self._itl(record)

    def _went_somewhere(self, record: RequestRecord) -> None:
        self.queue.observe(exact(record.queue_ms / 1000))
        self.routing.observe(exact(record.route_ms / 1000))
        if record.tried:
            self.failovers.inc(len(record.tried))
        for stage, ms in record.stages_ms().items():
            if ms:
                self.stages[stage].inc(exact(ms / 1000))
        if record.ttft_ms is not None:
            self.ttft.observe(exact(record.ttft_ms / 1000))

    def _completed(self, record: RequestRecord) -> None:
        self.e2e.observe(exact(record.e2e_ms / 1000))
        if record.ttft_ms is not None and record.output_tokens > 1:
            self.tpot.observe(exact((record.e2e_ms - record.ttft_ms) / (record.output_tokens - 1) / 1000))

    def _itl(self, record: RequestRecord) -> None:
        counts, bounds = [0] * (len(ITL_BOUNDS_MS) + 1), ITL_BOUNDS_MS
        for gap_ms in record.gaps_ms:
            counts[bisect_left(bounds, gap_ms)] += 1
        self.itl.add(counts, exact(sum(record.gaps_ms) / 1000))


class TenantMetrics:
    """Of one model and tenant."""

    def __init__(self, known: Instruments, model: str, tenant: str) -> None:
        labels = (model, tenant)
        self.requests: Kept[str, Counter] = Kept(lambda outcome: known.tenant_requests.labels(*labels, outcome))
        self.prompt_tokens = known.prompt_tokens.labels(*labels)
        self.cached_tokens = known.cached_tokens.labels(*labels)
        self.generated_tokens = known.generated_tokens.labels(*labels)

    def ended(self, record: RequestRecord) -> None:
        self.requests[record.outcome].inc()
        if record.prompt_tokens or record.output_tokens:
            self.prompt_tokens.inc(record.prompt_tokens)
            self.cached_tokens.inc(record.cached_tokens)
            self.generated_tokens.inc(record.output_tokens)


class RequestMetrics:
    """`tenants`: which pairs of model and tenant may be labels; the others are counted as one tenant, `other`."""

    def __init__(self, tenants: LabelSlots, registry: CollectorRegistry | None = None) -> None:
        known = Instruments(registry)
        classes = LabelSlots(None, KNOWN_CLASSES)

        def of_class(key: tuple[str, int]) -> ClassMetrics:
            labels = key[0], str(key[1])
            return ClassMetrics(known, *(labels if classes.has(*labels) else (OTHER, OTHER)))

        def of_tenant(key: tuple[str, str]) -> TenantMetrics:
            if key[1] == OTHER or tenants.has(*key):
                return TenantMetrics(known, *key)
            return self._tenants[key[0], OTHER]

        self._classes = Kept(of_class)
        self._tenants: Kept[tuple[str, str], TenantMetrics] = Kept(of_tenant)
        self._key_errors: Kept[str, Counter] = Kept(known.key_errors.labels)

    def __call__(self, record: RequestRecord) -> None:
        if record.status == UNAUTHORIZED:
            self._key_errors[record.error_code].inc()
        self._classes[record.model or NO_MODEL, record.priority].ended(record)
        if record.tenant:
            self._tenants[record.model or NO_MODEL, record.tenant].ended(record)
