"""What the probe makes of an engine's answers, over real HTTP."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.launch import EngineLaunch
from engine.probe import EngineProbe

Serve = Callable[[int], EngineProbe]


@pytest.fixture
def answering() -> Iterator[Serve]:
    """A probe of a server that answers everything with one status."""
    servers: list[ThreadingHTTPServer] = []

    def serve(status: int) -> EngineProbe:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return EngineProbe(EngineLaunch("m", Path("/w"), "cpu", "127.0.0.1", server.server_address[1], "token"))

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "generates"), [(200, True), (400, True), (404, True), (500, False), (503, False)])
async def test_a_refused_canary_does_not_condemn_the_engine(answering: Serve, status: int, generates: bool) -> None:
    """A model that only embeds has no completions: an answer of 404 says nothing of its health."""
    probe = answering(status)
    assert await probe.canary(5.0) is generates
    await probe.close()


async def test_a_server_without_metrics_is_seen_as_silent(answering: Serve) -> None:
    probe = answering(500)
    seen = await probe.observe()
    assert (seen.steps, seen.running, seen.waiting) == (None, None, None)
    await probe.close()


async def test_nobody_there_is_silent_and_makes_no_token() -> None:
    nobody_listens = 9
    probe = EngineProbe(EngineLaunch("m", Path("/w"), "cpu", "127.0.0.1", nobody_listens, "token"))
    assert (await probe.observe()).steps is None
    assert not await probe.canary(1.0)
    await probe.close()
