"""What a node's exporter says of two gateways and two engines, also while they are killed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import ray
from prometheus_client.parser import text_string_to_metric_families

from engine.process_tree import descendants
from tests.end_to_end.cluster_process import ClusterProcess

Series = tuple[str, tuple[tuple[str, str], ...]]
Page = Mapping[Series, float]
CUMULATIVE = ("_total", "_bucket", "_count", "_sum")
ALL_WITHIN_S = 30.0


def scrape(cluster: ClusterProcess) -> Page:
    answer = httpx.get(f"{cluster.metrics_url}/metrics", timeout=10)
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def values(page: Page, name: str, **labels: str) -> list[float]:
    return [value for (n, found), value in page.items() if n == name and labels.items() <= dict(found).items()]


def eventually(cluster: ClusterProcess, wanted: Callable[[Page], Any]) -> Page:
    deadline_s = time.monotonic() + ALL_WITHIN_S
    while not wanted(page := scrape(cluster)):
        assert time.monotonic() < deadline_s, sorted(page.items())
        time.sleep(0.2)
    return page


def ask(cluster: ClusterProcess, number: int) -> tuple[int, int]:
    """Prompt and output tokens, as the client is told."""
    body = {"model": "sim", "prompt": f"a prompt number {number}", "max_tokens": 2 + number % 7, "ignore_eos": True}
    usage = cluster.post("/v1/completions", body, 30).json()["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


def check_page(cluster: ClusterProcess) -> None:
    before = eventually(cluster, lambda page: values(page, "baryon_gateways") == [2])
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: ask(cluster, number), range(200)))
    after = eventually(cluster, lambda page: sum(values(page, "baryon_router_requests_total")) >= len(told))
    for name, tokens in zip(("prompt", "generated"), zip(*told, strict=True), strict=True):
        counted = f"baryon_{name}_tokens_total"
        assert sum(values(after, counted)) - sum(values(before, counted)) == sum(tokens)
    assert values(after, "baryon_replica_up") == [1, 1]
    assert values(after, "baryon_autoscaler_running_replicas", model="sim") == [2]
    assert len(values(after, "vllm:generation_tokens_total", model="sim")) == 2
    assert sum(values(after, "vllm:generation_tokens_total")) >= sum(output for _, output in told)
    address = cluster.metrics_url.removeprefix("http://")
    assert [exporter["address"] for exporter in cluster.status()["exporters"]] == [address]
    assert httpx.get(f"{cluster.metrics_url}/sd").json()[0]["targets"] == [address]


def check_serve_pages(cluster: ClusterProcess) -> None:
    """By Ray's own exporter."""
    assert cluster.live
    (node,) = ray.nodes()
    wanted = [
        'ray_serve_num_http_requests_total{application="sim"',
        'ray_serve_http_request_latency_ms_bucket{application="sim"',
        'ray_serve_deployment_request_counter_total{application="gateway"',
        'ray_serve_deployment_request_counter_total{application="sim"',
        'ray_serve_deployment_processing_latency_ms_bucket{application="sim"',
    ]
    deadline_s = time.monotonic() + ALL_WITHIN_S
    while True:
        text = httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=10).text
        series = {name: [line for line in text.splitlines() if is_series(line, name)] for name in wanted}
        if all(any(not line.endswith(" 0.0") for line in lines) for lines in series.values()):
            return
        assert time.monotonic() < deadline_s, {name: lines[:3] for name, lines in series.items()}
        time.sleep(1)


def is_series(line: str, wanted: str) -> bool:
    name, _, label = wanted.partition("{")
    return line.startswith(f"{name}{{") and label in line


class Scraper(threading.Thread):
    """Scrapes again and again. A page that is no page ends it, and `join` says so."""

    def __init__(self, cluster: ClusterProcess) -> None:
        super().__init__(daemon=True)
        self.pages: list[Page] = []
        self.error: Exception | None = None
        self.ended = threading.Event()
        self._cluster = cluster

    def run(self) -> None:
        try:
            while not self.ended.wait(0.2):
                ask(self._cluster, len(self.pages))
                self.pages.append(scrape(self._cluster))
        except Exception as error:
            self.error = error

    def end(self) -> list[Page]:
        self.ended.set()
        self.join(30)
        if self.error is not None:
            raise self.error
        return self.pages


def check_kills(cluster: ClusterProcess, gateways: Callable[[ClusterProcess], Mapping[str, int]]) -> None:
    """An engine and a gateway are killed: the gap is seen, and nothing that is counted is ever less than before."""
    (replica, pid), *_ = cluster.replicas("sim").items()
    engine = next(member for member in descendants(pid) if "engine.simulated" in member.title.split("engine.reaper")[0])
    scraper = Scraper(cluster)
    scraper.start()
    os.kill(engine.pid, signal.SIGKILL)
    eventually(cluster, lambda page: values(page, "baryon_replica_up", replica=replica) == [0])
    eventually(cluster, lambda page: sum(values(page, "baryon_replica_up")) == 2)
    os.kill(next(iter(gateways(cluster).values())), signal.SIGKILL)
    eventually(cluster, lambda page: values(page, "baryon_gateways") == [1])
    eventually(cluster, lambda page: values(page, "baryon_gateways") == [2])
    pages = scraper.end()
    assert len(pages) > 5
    for before, after in pairwise(pages):
        for series, value in before.items():
            if series[0].endswith(CUMULATIVE):
                assert series in after or series[0].startswith("vllm:"), f"{series} is gone"
                assert after.get(series, value) >= value, series
    assert values(pages[-1], "baryon_replica_failures_total", model="sim") >= [1]
