"""Counts requests that have ended. An observer of `RequestRecord`; children of labels are looked up once and kept."""

from array import array
from collections import Counter as Counted
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter

from deployments.gateway.request_record import RequestRecord
from deployments.gateway.stages import ENGINE, NAMES, QUEUE, ROUTE
from monitoring import metrics
from monitoring.instruments import Milliseconds, counter, exact, histogram
from monitoring.label_slots import OTHER, LabelSlots

NO_MODEL = "unknown"
UNAVAILABLE = 503
KNOWN_CLASSES = 256
FLUSH_S = 0.5

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

    def add(self, records: Sequence[RequestRecord], gaps_ms: "Sequence[array[float]]") -> None:
        for ended, requests in Counted((record.outcome, record.status) for record in records).items():
            self.requests[ended].inc(requests)
        for reason, requests in Counted(r.error_code for r in records if r.status == UNAVAILABLE).items():
            self.shed[reason].inc(requests)
        judged = [record for record in records if record.slo_met is not None]
        if judged:
            self.served.add_judged(judged)
        taken = [record for record in records if record.replica]
        if taken:
            self.served.add_taken(taken)
            self.served.itl.add_packed(gaps_ms)


class ServedMetrics:
    """Of those requests that a replica took or should have taken."""

    def __init__(self, known: Instruments, model: str, priority: str) -> None:
        labels = (model, priority)
        self.stages: Kept[str, Counter] = Kept(lambda stage: known.stages.labels(model, stage))
        self.failovers = known.failovers.labels(model)
        self.slo_requests = known.slo_requests.labels(*labels)
        self.slo_met = known.slo_met.labels(*labels)
        self.goodput_tokens = known.goodput_tokens.labels(*labels)
        self.e2e = Milliseconds(known.e2e.labels(*labels), metrics.E2E)
        self.queue = Milliseconds(known.queue.labels(*labels), metrics.QUEUE)
        self.routing = Milliseconds(known.routing.labels(*labels), metrics.ROUTING)
        self.ttft = Milliseconds(known.ttft.labels(*labels), metrics.TTFT)
        self.tpot = Milliseconds(known.tpot.labels(*labels), metrics.TPOT)
        self.itl = Milliseconds(known.itl.labels(*labels), metrics.ITL)

    def add_judged(self, records: Sequence[RequestRecord]) -> None:
        met = [record.output_tokens for record in records if record.slo_met]
        self.slo_requests.inc(len(records))
        self.slo_met.inc(len(met))
        self.goodput_tokens.inc(sum(met))

    def add_taken(self, records: Sequence[RequestRecord]) -> None:
        spent_ms = [record.stages.spent_ms for record in records]
        self.queue.add([row[QUEUE] for row in spent_ms])
        self.routing.add([row[ROUTE] for row in spent_ms])
        self.ttft.add([record.ttft_ms for record in records if record.ttft_ms is not None])
        completed = [record for record in records if record.outcome == "completed"]
        self.e2e.add([record.e2e_ms for record in completed])
        self.tpot.add([tpot_ms for record in completed if (tpot_ms := tpot_of(record)) is not None])
        for stage, ms in stage_sums_ms(records, spent_ms).items():
            if ms:
                self.stages[stage].inc(exact(ms / 1000))
        if tried := sum(len(record.tried) for record in records):
            self.failovers.inc(tried)


def tpot_of(record: RequestRecord) -> float | None:
    if record.ttft_ms is None or record.output_tokens < 2:
        return None
    return (record.e2e_ms - record.ttft_ms) / (record.output_tokens - 1)


def stage_sums_ms(records: Sequence[RequestRecord], spent_ms: Sequence[Sequence[float]]) -> dict[str, float]:
    """As `RequestRecord.stages_ms` says it of one: an engine's time is as its parts, where it has told them."""
    sums: dict[str, float] = dict(zip(NAMES, map(sum, zip(*spent_ms, strict=True)), strict=True))
    for record, row in zip(records, spent_ms, strict=True):
        if record.prefill_ms is not None:
            queue_ms, decode_ms = record.engine_queue_ms or 0.0, record.decode_ms or 0.0
            rest_ms = row[ENGINE] - queue_ms - record.prefill_ms - decode_ms
            parts = {"engine_queue": queue_ms, "prefill": record.prefill_ms, "decode": decode_ms}
            for stage, ms in {**parts, "transfer": max(0.0, rest_ms), NAMES[ENGINE]: -row[ENGINE]}.items():
                sums[stage] = sums.get(stage, 0.0) + ms
    return sums | {NAMES[ENGINE]: max(0.0, sums[NAMES[ENGINE]])}


class TenantMetrics:
    """Of one model and tenant."""

    def __init__(self, known: Instruments, model: str, tenant: str) -> None:
        labels = (model, tenant)
        self.requests: Kept[str, Counter] = Kept(lambda outcome: known.tenant_requests.labels(*labels, outcome))
        self.prompt_tokens = known.prompt_tokens.labels(*labels)
        self.cached_tokens = known.cached_tokens.labels(*labels)
        self.generated_tokens = known.generated_tokens.labels(*labels)

    def add(self, records: Sequence[RequestRecord]) -> None:
        for outcome, requests in Counted(record.outcome for record in records).items():
            self.requests[outcome].inc(requests)
        self.prompt_tokens.inc(sum(record.prompt_tokens for record in records))
        self.cached_tokens.inc(sum(record.cached_tokens for record in records))
        self.generated_tokens.inc(sum(record.output_tokens for record in records))


class RequestMetrics:
    """Keeps each request that ends until `flush`, every `FLUSH_S`: many at once cost a few microseconds each.

    `tenants`: which pairs of model and tenant may be labels; the others are counted as one tenant, `other`.
    """

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
        self._ended: list[tuple[RequestRecord, array[float]]] = []

    def __call__(self, record: RequestRecord) -> None:
        self._ended.append((record, record.gaps_ms))

    def flush(self) -> None:
        ended, self._ended = self._ended, []
        by_class: dict[tuple[str, int], list[tuple[RequestRecord, array[float]]]] = defaultdict(list)
        by_tenant: dict[tuple[str, str], list[RequestRecord]] = defaultdict(list)
        for record, gaps_ms in ended:
            model = record.model or NO_MODEL
            by_class[model, record.priority].append((record, gaps_ms))
            if record.tenant:
                by_tenant[model, record.tenant].append(record)
        for of_class, rows in by_class.items():
            self._classes[of_class].add([record for record, _ in rows], [gaps_ms for _, gaps_ms in rows])
        for of_tenant, records in by_tenant.items():
            self._tenants[of_tenant].add(records)
