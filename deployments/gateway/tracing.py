"""Spans of requests, sent by OTLP over HTTP from a thread of their own. Loaded only where traces are configured.

A request has a span, with one below it for each stage and each replica asked; vLLM's own is below that of its replica.
A caller's trace is joined (W3C trace context). What it does not sample is not sampled here; what it does, only by the
same share as all others, unless callers are to be followed: a client that asks for spans of all its requests would
otherwise fill the operator's collector.
"""

from collections.abc import Mapping
from random import Random
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from deployments.gateway.request_record import RequestRecord
from deployments.gateway.stages import AUTH, NAMES, QUEUE, READ, ROUTE

SERVICE = "baryon-gateway"
PROPAGATOR = TraceContextTextMapPropagator()
FAULTS = frozenset({"failed", "broken", "timed_out", "shed"})
BEFORE_THE_ENGINE = (AUTH, READ, QUEUE, ROUTE)
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class OtlpTracing:
    """One gateway's. `sample`: the share of traces. `follows_callers`: and all that a caller samples."""

    def __init__(
        self,
        gateway_id: str,
        endpoint: str,
        sample: float,
        *,
        follows_callers: bool = False,
        exporter: SpanExporter | None = None,
        random: Random | None = None,
    ) -> None:
        self._sample, self._follows_callers, self._random = sample, follows_callers, random or Random()  # noqa: S311
        resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_INSTANCE_ID: gateway_id})
        self._provider = TracerProvider(ParentBased(TraceIdRatioBased(sample)), resource, shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=endpoint))
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("baryon")

    def begin(self, headers: Mapping[bytes, bytes], record: RequestRecord) -> "SpansOfRequest":
        """What the gateway asks itself, for a recipe, is sampled as the recipe's call is.

        The draw is not by the trace's id, which a client may choose.
        """
        caller = caller_in(headers)
        if not record.part_of and not self._follows_callers and self._random.random() >= self._sample:
            caller = not_sampled(caller)
        return SpansOfRequest(self._tracer, caller, record)

    def ended(self, record: RequestRecord) -> None:
        if isinstance(record.trace, SpansOfRequest):
            record.trace.end(record)

    def close(self) -> None:
        self._provider.shutdown()


class SpansOfRequest:
    """One request's spans. Of one that is not sampled only the ids are known, and go on to the engine."""

    def __init__(self, tracer: Tracer, caller: Context, record: RequestRecord) -> None:
        self._tracer = tracer
        self._began_ns = int(record.began_s * NS_PER_S)
        self._stages = record.stages
        self._span = tracer.start_span(f"POST {record.path}", caller, SpanKind.SERVER, start_time=self._began_ns)
        self._context = set_span_in_context(self._span, Context())
        self._attempt: Span | None = None

    @property
    def trace_id(self) -> str:
        return format_trace_id(self._span.get_span_context().trace_id)

    def asks(self, replica: str) -> bytes:
        self._attempt = self._tracer.start_span(
            "engine", self._context, SpanKind.CLIENT, {"baryon.replica": replica}, start_time=self._now_ns()
        )
        return b"".join(b"%b: %b\r\n" % header for header in headers_of(self._attempt).items())

    def below(self) -> dict[bytes, bytes]:
        return headers_of(self._span)

    def attempt_ends(self, outcome: str) -> None:
        if self._attempt is not None:
            self._attempt.set_attribute("baryon.outcome", outcome)
            if outcome not in ("completed", "refused", "client_gone"):
                self._attempt.set_status(Status(StatusCode.ERROR, outcome))
            self._attempt.end(self._now_ns())
            self._attempt = None

    def end(self, record: RequestRecord) -> None:
        if self._span.is_recording():
            self._add_stages(record)
            self._span.set_attributes(attributes(record))
            if record.outcome in FAULTS:
                self._span.set_status(Status(StatusCode.ERROR, record.error_code))
        self._span.end(self._began_ns + int(record.e2e_ms * NS_PER_MS))

    def _add_stages(self, record: RequestRecord) -> None:
        """One after another, as they are on a request's way; it may have been in the line and at the router in turn."""
        at_ns = self._began_ns
        for stage in BEFORE_THE_ENGINE:
            took_ns = int(record.stages.spent_ms[stage] * NS_PER_MS)
            if took_ns:
                self._tracer.start_span(NAMES[stage], self._context, start_time=at_ns).end(at_ns + took_ns)
            at_ns += took_ns

    def _now_ns(self) -> int:
        return self._began_ns + int(self._stages.now_ms() * NS_PER_MS)


def headers_of(span: Span) -> dict[bytes, bytes]:
    """By which others join it."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
    return {name.encode(): value.encode() for name, value in carrier.items()}


def caller_in(headers: Mapping[bytes, bytes]) -> Context:
    """The span that the request belongs to, if its client told one in the way of W3C."""
    names = [name for name in ("traceparent", "tracestate") if name.encode() in headers]
    return PROPAGATOR.extract({name: headers[name.encode()].decode("latin-1") for name in names}, Context())


def not_sampled(caller: Context) -> Context:
    """The same span of the same trace, with a word on sampling that says no."""
    span = get_current_span(caller).get_span_context()
    if not span.trace_flags.sampled:
        return caller
    silent = SpanContext(span.trace_id, span.span_id, True, TraceFlags(TraceFlags.DEFAULT), span.trace_state)
    return set_span_in_context(NonRecordingSpan(silent), caller)


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
