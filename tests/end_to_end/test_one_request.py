"""One request on a cluster: where its time went, its trace from gateway to vLLM, its line on Ray's dashboard."""

import contextlib
import json
import os
import signal
import time
from typing import Any

import httpx
import pytest

from cluster.ray_head import auth_token
from cluster.serve_api import ServeApi
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT, SIMULATED
from tests.end_to_end.test_lifecycle import wait_for
from tests.unit.gateway.otlp_receiver import OtlpReceiver
from tests.unit.gateway.test_request_record import SECRET_WORDS
from tests.unit.gateway.test_server_timing import ENGINES, OURS, stages

pytestmark = [pytest.mark.engine, pytest.mark.cluster]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
JOINED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


def chat(cluster: ClusterProcess, model: str, headers: dict[str, str]) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": SECRET_WORDS}], "max_tokens": 16}
    return httpx.post(f"{cluster.url}/v1/chat/completions", json=body, headers=headers, timeout=120)


def test_vllm_joins_the_trace_of_the_gateway_which_joins_the_callers(
    cluster: ClusterProcess, receiver: OtlpReceiver
) -> None:
    answer = chat(cluster, CHAT, JOINED)
    assert list(stages(answer.headers["server-timing"])) == OURS + ENGINES
    (request,) = receiver.wait_for(1, "POST /v1/chat/completions")
    (engines,) = receiver.wait_for(1, "llm_request")
    (attempt,) = receiver.named("engine")
    assert {span["trace"] for span in receiver.spans} == {TRACE}
    assert (request["parent"], attempt["parent"], engines["parent"]) == (CALLER, request["id"], attempt["id"])
    assert request["attributes"]["baryon.request_id"] == answer.headers["x-request-id"]
    assert attempt["began_ns"] <= engines["began_ns"] <= engines["ended_ns"] <= request["ended_ns"]
    assert SECRET_WORDS not in repr(receiver.spans)


@pytest.mark.parametrize("streams", [False, True])
def test_the_stages_of_vllm_s_answer_add_up_to_what_the_client_waits(cluster: ClusterProcess, *, streams: bool) -> None:
    """The closest of five: a client that is kept from reading waits longer than its answer took."""
    body = {"model": CHAT, "prompt": "Count.", "max_tokens": 64, "ignore_eos": True, "stream": streams}
    off_by = []
    with httpx.Client(base_url=cluster.url, headers={"x-baryon-timing": "1"}, timeout=120) as client:
        client.get("/health")
        for _ in range(5):
            began_s = time.perf_counter()
            answer = client.post("/v1/completions", json=body)
            e2e_ms = (time.perf_counter() - began_s) * 1000
            comment = answer.text.partition(": server-timing ")[2].partition("\n")[0]
            told = stages(comment if streams else answer.headers["server-timing"])
            assert list(told) == OURS + ENGINES
            assert min(told["prefill"], told["decode"]) > 0
            off_by.append(abs(sum(told.values()) - e2e_ms) / e2e_ms)
    assert min(off_by) < 0.05, off_by


def log_lines(cluster: ClusterProcess, application: str) -> list[dict[str, Any]]:
    """As the dashboard shows them, of the only replica."""
    dashboard = f"http://127.0.0.1:{cluster.dashboard_port}"
    (deployment,) = ServeApi(dashboard).applications()[application]["deployments"].values()
    replica = deployment["replicas"][0]
    where = {"node_id": replica["node_id"], "filename": replica["log_file_path"].lstrip("/"), "lines": 1000}
    token = auth_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    text = httpx.get(f"{dashboard}/api/v0/logs/file", params=where, headers=headers, timeout=30).text
    return [json.loads(line[line.index("{") :]) for line in text.splitlines() if "{" in line]


def lines_of(cluster: ClusterProcess, request_id: str) -> list[dict[str, Any]]:
    return [line for line in log_lines(cluster, "gateway") if line.get("request_id") == request_id]


def test_a_request_that_failed_is_a_json_line_on_the_dashboards_log_page(cluster: ClusterProcess) -> None:
    url = f"{cluster.url}/v1/completions"
    body = {"model": SIMULATED, "prompt": SECRET_WORDS, "max_tokens": 3000, "stream": True}
    replicas = cluster.replicas(SIMULATED)
    with httpx.stream("POST", url, json=body, timeout=60) as answer:
        request_id, replica = answer.headers["x-request-id"], answer.headers["x-baryon-replica"]
        pieces = answer.iter_raw()
        next(pieces)
        os.kill(replicas[replica], signal.SIGKILL)
        with contextlib.suppress(httpx.RemoteProtocolError):
            list(pieces)
    wait_for(lambda: bool(lines_of(cluster, request_id)), 10, "the request has a line")
    found = lines_of(cluster, request_id)
    assert [line["outcome"] for line in found] == ["broken"]
    assert SECRET_WORDS not in repr(log_lines(cluster, "gateway"))
    wait_for(lambda: len(cluster.replicas(SIMULATED)) == 2, 60, "a new replica is ready")
    assert any(line["levelname"] == "INFO" for line in log_lines(cluster, "state") + log_lines(cluster, CHAT))
