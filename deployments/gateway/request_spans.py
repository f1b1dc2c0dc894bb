"""What a request that has ended is as spans: its own, below it one for each stage and each replica asked; vLLM's own is
below that of its replica.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from deployments.gateway.request_record import RequestRecord
from deployments.gateway.stages import AUTH, NAMES, QUEUE, READ, ROUTE

FAULTS = frozenset({"failed", "broken", "timed_out", "shed"})
NO_FAULT_OF_A_REPLICA = frozenset({"completed", "refused", "client_gone"})
BEFORE_THE_ENGINE = (AUTH, READ, QUEUE, ROUTE)
REQUESTS_A_MESSAGE = 64
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
FINE = Status(StatusCode.UNSET)
SCOPE = InstrumentationScope("baryon")
IDS = RandomIdGenerator()
NOWHERE = Resource({})


@dataclass(slots=True)
class TracedAttempt:
    """A replica was asked. Times are since the epoch; `outcome` is empty until it ends."""

    span_id: int
    replica: str
    began_ns: int
    ended_ns: int = 0
    outcome: str = ""


class RequestSpan(ReadableSpan):
    """Little more than the record of a request that has ended, in the place of its span until it is sent."""

    def __init__(
        self,
        path: str,
        here: SpanContext,
        caller: SpanContext | None,
        attempts: list[TracedAttempt],
        record: RequestRecord,
    ) -> None:
        super().__init__(f"POST {path}", here, caller, NOWHERE)
        self._here, self._attempts, self._record = here, attempts, record

    def spans(self, resource: Resource) -> Iterator[ReadableSpan]:
        """Its own and those below it. `resource`: the gateway that they are of."""
        began_ns = int(self._record.began_s * NS_PER_S)
        yield self._own(resource, began_ns)
        yield from self._of_stages(resource, began_ns)
        for attempt in self._attempts:
            if attempt.outcome:
                yield self._of_attempt(attempt, resource)

    def _own(self, resource: Resource, began_ns: int) -> ReadableSpan:
        record = self._record
        return ReadableSpan(
            self.name,
            self._here,
            self.parent,
            resource,
            attributes(record),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, record.error_code) if record.outcome in FAULTS else FINE,
            start_time=began_ns,
            end_time=began_ns + int(record.e2e_ms * NS_PER_MS),
            instrumentation_scope=SCOPE,
        )

    def _of_stages(self, resource: Resource, at_ns: int) -> Iterator[ReadableSpan]:
        """One after another, as they are on a request's way; it may have been in the line and at the router in turn."""
        for stage in BEFORE_THE_ENGINE:
            took_ns = int(self._record.stages.spent_ms[stage] * NS_PER_MS)
            if took_ns:
                yield ReadableSpan(
                    NAMES[stage],
                    self._below(IDS.generate_span_id()),
                    self._here,
                    resource,
                    start_time=at_ns,
                    end_time=at_ns + took_ns,
                    instrumentation_scope=SCOPE,
                )
            at_ns += took_ns

    def _of_attempt(self, attempt: TracedAttempt, resource: Resource) -> ReadableSpan:
        fine = attempt.outcome in NO_FAULT_OF_A_REPLICA
        return ReadableSpan(
            "engine",
            self._below(attempt.span_id),
            self._here,
            resource,
            {"baryon.replica": attempt.replica, "baryon.outcome": attempt.outcome},
            kind=SpanKind.CLIENT,
            status=FINE if fine else Status(StatusCode.ERROR, attempt.outcome),
            start_time=attempt.began_ns,
            end_time=attempt.ended_ns,
            instrumentation_scope=SCOPE,
        )

    def _below(self, span_id: int) -> SpanContext:
        here = self._here
        return SpanContext(here.trace_id, span_id, False, here.trace_flags, here.trace_state)


class SpansOfRequests(SpanExporter):
    """Makes the spans of requests when they are to be sent, a message's at a time: nobody waits for long."""

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter, self._resource = exporter, resource

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """What follows a message that could not be sent is lost with it."""
        requests = [span for span in spans if isinstance(span, RequestSpan)]
        for at in range(0, len(requests), REQUESTS_A_MESSAGE):
            message = requests[at : at + REQUESTS_A_MESSAGE]
            result = self._exporter.export([span for request in message for span in request.spans(self._resource)])
            if result is not SpanExportResult.SUCCESS:
                return result
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        self._exporter.shutdown()


def attributes(record: RequestRecord) -> dict[str, Any]:
    """By OpenTelemetry's names where it has them."""
    known = {
        "http.request.method": "POST",
        "url.path": record.path,
        "http.response.status_code": record.status or None,
        "error.type": record.error_code or None,
        "gen_ai.request.model": record.model or None,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "baryon.request_id": record.request_id,
        "baryon.recipe": record.recipe or None,
        "baryon.tenant": record.tenant or None,
        "baryon.outcome": record.outcome,
        "baryon.stream": record.stream,
        "baryon.ttft_ms": record.ttft_ms,
        "baryon.predicted_ttft_ms": record.predicted_ttft_ms,
        "baryon.predicted_hit_tokens": record.predicted_hit_tokens,
        **{f"baryon.stage.{name}_ms": ms for name, ms in record.stages_ms().items()},
    }
    return {name: value for name, value in known.items() if value is not None}
