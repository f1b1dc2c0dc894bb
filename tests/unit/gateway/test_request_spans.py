"""Requests that have ended become spans when they are sent, a message's at a time."""

from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

from deployments.gateway.request_record import RequestRecord
from deployments.gateway.request_spans import REQUESTS_A_MESSAGE, RequestSpan, SpansOfRequests, TracedAttempt
from deployments.gateway.stages import READ

CHAT = "/v1/chat/completions"
NODE = Resource({"service.name": "baryon-gateway"})


class Receiver(SpanExporter):
    """Takes so many messages, and no more."""

    def __init__(self, takes: int = 1_000) -> None:
        self.messages: list[Sequence[ReadableSpan]] = []
        self._takes = takes

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.messages.append(spans)
        return SpanExportResult.SUCCESS if len(self.messages) <= self._takes else SpanExportResult.FAILURE


def ended(number: int = 1, attempts: Sequence[TracedAttempt] = ()) -> RequestSpan:
    record = RequestRecord(f"req-{number}", "g", CHAT, outcome="completed", status=200)
    record.stages.enter(READ)
    record.stages.end()
    here = SpanContext(number, 1_000 + number, False, TraceFlags(TraceFlags.SAMPLED))
    return RequestSpan(CHAT, here, None, list(attempts), record)


def ids(message: Sequence[ReadableSpan]) -> list[object]:
    return [span.attributes["baryon.request_id"] for span in message if span.attributes and span.parent is None]


def test_a_backlog_is_sent_in_messages_of_a_bounded_size_and_order_is_kept() -> None:
    receiver = Receiver()
    requests = [ended(number) for number in range(1, 201)]
    assert SpansOfRequests(receiver, NODE).export(requests) is SpanExportResult.SUCCESS
    assert [len(ids(message)) for message in receiver.messages] == [64, 64, 64, 8]
    assert REQUESTS_A_MESSAGE == 64
    told = [request_id for message in receiver.messages for request_id in ids(message)]
    assert told == [f"req-{number}" for number in range(1, 201)]
    assert {span.resource for message in receiver.messages for span in message} == {NODE}


def test_a_receiver_that_fails_is_not_asked_to_fail_for_every_message_of_a_backlog() -> None:
    receiver = Receiver(takes=1)
    sending = SpansOfRequests(receiver, NODE)
    assert sending.export([ended(number) for number in range(1, 401)]) is SpanExportResult.FAILURE
    assert len(receiver.messages) == 2


def test_what_a_replica_answered_is_told_apart_from_what_it_failed_at() -> None:
    receiver = Receiver()
    tried = [
        TracedAttempt(7, "r0", 10, 20, "not_started"),
        TracedAttempt(8, "r1", 20, 30, "completed"),
        TracedAttempt(9, "r2", 30),
    ]
    SpansOfRequests(receiver, NODE).export([ended(attempts=tried)])
    engines = [span for span in receiver.messages[0] if span.name == "engine"]
    told = [(span.context.span_id if span.context else 0, span.status.status_code) for span in engines]
    assert told == [(7, StatusCode.ERROR), (8, StatusCode.UNSET)], "the third has not ended: nothing is known of it"
    assert [dict(span.attributes or {})["baryon.replica"] for span in engines] == ["r0", "r1"]


def test_stages_of_a_request_follow_each_other_below_it() -> None:
    receiver = Receiver()
    SpansOfRequests(receiver, NODE).export([ended()])
    own, *stages = receiver.messages[0]
    assert {span.name for span in stages} <= {"auth", "read"}
    assert stages
    assert all(span.parent == own.context for span in stages)
    assert [span.start_time for span in stages] == sorted(span.start_time or 0 for span in stages)
