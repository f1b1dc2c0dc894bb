"""Traces of requests, by OpenTelemetry. Loaded only where they are configured.

A caller's trace is joined (W3C trace context). What it does not sample is not sampled here; what it does, only by the
same share as all others, unless callers are to be followed: a client that asks for spans of all its requests would
otherwise fill the operator's collector.

While a request is on its way only ids are made. Its spans are made of its record by the thread that sends them: the
SDK's own, begun and ended where things happen, cost 130 µs of the loop for each request.
"""

from collections.abc import Mapping
from random import Random

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, TraceFlags, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from deployments.gateway.request_record import RequestRecord
from deployments.gateway.request_spans import RequestSpan, SpansOfRequests, TracedAttempt

SERVICE = "baryon-gateway"
PROPAGATOR = TraceContextTextMapPropagator()
SAMPLED, SILENT = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)
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
        random: Random | None = None,
    ) -> None:
        self._sample, self._follows_callers, self._random = sample, follows_callers, random or Random()  # noqa: S311
        resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_INSTANCE_ID: gateway_id})
        self._sending = BatchSpanProcessor(SpansOfRequests(OTLPSpanExporter(endpoint=endpoint), resource))

    def begin(self, headers: Mapping[bytes, bytes], record: RequestRecord) -> "TracedRequest":
        caller = caller_in(headers)
        trace_id = self._random.getrandbits(128) if caller is None else caller.trace_id
        flags = SAMPLED if self._samples(caller, record) else SILENT
        state = None if caller is None else caller.trace_state
        here = SpanContext(
            trace_id, self._random.getrandbits(64), is_remote=False, trace_flags=flags, trace_state=state
        )
        return TracedRequest(self._random, here, caller, record)

    def _samples(self, caller: SpanContext | None, record: RequestRecord) -> bool:
        """What the gateway asks itself, for a recipe, is sampled as the recipe's call is.

        The draw is not by the trace's id, which a client may choose.
        """
        if caller is None:
            return self._random.random() < self._sample
        if not caller.trace_flags.sampled:
            return False
        return bool(record.part_of) or self._follows_callers or self._random.random() < self._sample

    def ended(self, record: RequestRecord) -> None:
        traced, record.trace = record.trace, None
        if isinstance(traced, TracedRequest) and traced.here.trace_flags.sampled:
            self._sending.on_end(RequestSpan(traced.path, traced.here, traced.caller, traced.attempts, record))

    def close(self) -> None:
        self._sending.shutdown()  # type: ignore[no-untyped-call]


class TracedRequest:
    """`here`: its own span; `caller`: that above it, if there is one."""

    __slots__ = ("_began_ns", "_random", "_stages", "attempts", "caller", "here", "path")

    def __init__(self, random: Random, here: SpanContext, caller: SpanContext | None, record: RequestRecord) -> None:
        self.here, self.caller, self.path = here, caller, record.path
        self.attempts: list[TracedAttempt] = []
        self._random, self._stages, self._began_ns = random, record.stages, int(record.began_s * NS_PER_S)

    @property
    def trace_id(self) -> str:
        return format_trace_id(self.here.trace_id)

    def asks(self, replica: str) -> bytes:
        attempt = TracedAttempt(self._random.getrandbits(64), replica, self._now_ns())
        self.attempts.append(attempt)
        headers = self._headers(attempt.span_id)
        return b"".join(b"%b: %b\r\n" % header for header in headers.items())

    def below(self) -> dict[bytes, bytes]:
        return self._headers(self.here.span_id)

    def attempt_ends(self, outcome: str) -> None:
        if self.attempts and not self.attempts[-1].outcome:
            self.attempts[-1].outcome, self.attempts[-1].ended_ns = outcome, self._now_ns()

    def _headers(self, span_id: int) -> dict[bytes, bytes]:
        """By which others join it."""
        parent = b"00-%032x-%016x-%02x" % (self.here.trace_id, span_id, self.here.trace_flags)
        state = self.here.trace_state.to_header()
        return {b"traceparent": parent, b"tracestate": state.encode()} if state else {b"traceparent": parent}

    def _now_ns(self) -> int:
        return self._began_ns + int(self._stages.now_ms() * NS_PER_MS)


def caller_in(headers: Mapping[bytes, bytes]) -> SpanContext | None:
    """The span that the request belongs to, if its client told one in the way of W3C."""
    if b"traceparent" not in headers:
        return None
    names = [name for name in ("traceparent", "tracestate") if name.encode() in headers]
    context = PROPAGATOR.extract({name: headers[name.encode()].decode("latin-1") for name in names}, Context())
    told = get_current_span(context).get_span_context()
    return told if told.is_valid else None
