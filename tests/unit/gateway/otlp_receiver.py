"""A real receiver of OTLP over HTTP: decodes what it is sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class OtlpReceiver(ThreadingHTTPServer):
    """`spans` as dictionaries, with the service they come from; `arrived` is notified of each export."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[dict[str, Any]] = []
        self.arrived = threading.Condition()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/traces"

    def wait_for(self, count: int, name: str, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """At least so many spans of that name."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.named(name)) >= count, timeout_s), self.spans
            return self.named(name)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["name"] == name]

    def add(self, export: ExportTraceServiceRequest) -> None:
        with self.arrived:
            for resource in export.resource_spans:
                service = _attributes(resource.resource.attributes)
                for scope in resource.scope_spans:
                    self.spans += [{**_span(span), "service": service} for span in scope.spans]
            self.arrived.notify_all()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        export = ExportTraceServiceRequest()
        export.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
        assert isinstance(self.server, OtlpReceiver)
        self.server.add(export)
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


def _span(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "kind": span.kind,
        "state": span.trace_state,
        "status": span.status.code,
        "ms": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
        "began_ns": span.start_time_unix_nano,
        "ended_ns": span.end_time_unix_nano,
        "attributes": _attributes(span.attributes),
    }


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def receiving() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        serving = threading.Thread(target=receiver.serve_forever)
        serving.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            serving.join()
