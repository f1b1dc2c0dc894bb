"""`baryon top`: the admin port's JSON in a terminal of any width, and what it says where there is none."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any

import orjson
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cluster.cli import app
from cluster.commands.output import FAILED, NOT_RUNNING
from cluster.commands.top_tables import receipt, screen, stage_bar
from deployments.admin.explanation import explanation
from deployments.admin.overview import StateView, overview
from deployments.gateway_registry import ReplicaCounts, Told
from tests.unit.admin.harness import CARD, replica_row
from tests.unit.gateway.harness import MODEL


def request(number: int, **news: Any) -> dict[str, Any]:
    stages = {"auth": 0.1, "queue": 100.0, "prefill": 300.0, "decode": 600.0}
    return {
        "request_id": f"req-{number}",
        "gateway_id": "g1",
        "model": MODEL,
        "tenant": "acme",
        "began_s": 1_790_000_000.0 + number,
        "outcome": "completed",
        "status": 200,
        "error_code": "",
        "replica": "r0",
        "prompt_tokens": 900,
        "cached_tokens": 400,
        "output_tokens": 61,
        "ttft_ms": 401.0,
        "e2e_ms": sum(stages.values()),
        "stages_ms": stages,
    } | news


def now(at_s: float = 1_790_000_000.0) -> dict[str, Any]:
    state = StateView(
        {"models": [CARD], "replicas": [replica_row("r0"), replica_row("r1", "load")]},
        Told(counts={MODEL: ReplicaCounts(2, 1, 1)}),
    )
    document = overview(at_s, state, [], {}, {}, is_key_needed=False)
    return document | {"requests": [request(number) for number in range(100)]}


ANSWERS: dict[str, Any] = {
    "/admin/overview": now(),
    "/admin/requests?limit=50": {
        "requests": [request(1), request(2, outcome="refused", error_code="model_not_found", model="", e2e_ms=0.0)]
    },
    "/admin/requests/a%2Fb": {"request": request(3), **explanation(request(3), [request(n) for n in range(4, 20)])},
}


class Admin(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path in ANSWERS
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(
            orjson.dumps(ANSWERS[self.path] if known else {"error": {"message": "No gateway remembers it."}})
        )

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Admin) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def shown(renderable: Any, width: int) -> str:
    out = Console(file=StringIO(), width=width)
    out.print(renderable)
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def test_it_shows_replicas_and_the_latest_requests(url: str) -> None:
    done = CliRunner().invoke(app, ["top", "--url", url, "--once"], env={"COLUMNS": "140"})
    assert done.exit_code == 0, done.output
    for word in (MODEL, "r0", "ready", "r1", "load", "1/2 +1", "model_not_found", "1.00 s"):
        assert word in done.output


def test_scripts_get_all_of_it_as_json(url: str) -> None:
    done = CliRunner().invoke(app, ["top", "--url", url, "--json"])
    document = orjson.loads(done.stdout_bytes)
    assert [replica["replica_id"] for replica in document["replicas"]] == ["r0", "r1"]
    assert len(document["requests"]) == 2


def test_one_request_is_explained(url: str) -> None:
    done = CliRunner().invoke(app, ["top", "--url", url, "--request", "a/b"])
    assert done.exit_code == 0, done.output
    for word in ("It took 1 s", "decode", "600 ms", "60%", "acme", "req-3"):
        assert word in done.output


def test_an_unknown_request_and_a_dead_port_are_errors_with_words(url: str) -> None:
    unknown = CliRunner().invoke(app, ["top", "--url", url, "--request", "x"])
    assert (unknown.exit_code, "No gateway remembers it." in unknown.output) == (FAILED, True)
    dead = CliRunner().invoke(app, ["top", "--url", "http://127.0.0.1:9", "--once"])
    assert (dead.exit_code, "does not answer as an admin port" in dead.output) == (FAILED, True)


def test_without_a_cluster_it_says_so(tmp_path: Any) -> None:
    done = CliRunner().invoke(app, ["top"], env={"BARYON_RUN_DIR": str(tmp_path)})
    assert done.exit_code == NOT_RUNNING


@pytest.mark.parametrize("width", [80, 140, 250])
def test_it_fits_the_terminal(width: int) -> None:
    lines = shown(screen(now(), width, 40), width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 40
    told = {"request": request(3), **explanation(request(3), [])}
    assert max(map(len, shown(receipt(told, width), width).splitlines())) <= width


def test_a_bar_is_as_long_as_it_is_said_to_be() -> None:
    assert len(stage_bar(request(1), 2_000.2, 40).plain) == 40
    assert stage_bar(request(1), 2_000.2, 40).plain.count("█") == 20
    assert len(stage_bar(request(1, stages_ms={"auth": 0.01}, e2e_ms=0.01), 1_000.0, 40).plain) == 40
