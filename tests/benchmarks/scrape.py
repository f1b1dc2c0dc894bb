"""What a scrape takes: `python -m tests.benchmarks.scrape [--json OUT]`.

One node with 8 replicas that have as much to tell as vLLM has; 200 replicas over 8 nodes, all scraped at once as
Prometheus might, simulated ones and with vLLM's pages. All of it runs on this machine, so the times are of all
exporters and engines together. Each scrape accepts gzip, as Prometheus does. In text, and as protobuf with native
histograms.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from cluster.bench.overhead_run import commit_id, write_json

SCRAPES = 20
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
ENGINES_IN_A_PROCESS = 50


@contextmanager
def process(module: str, *arguments: str) -> Iterator[str]:
    """Its first line."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        yield started.stdout.readline().strip()
    finally:
        started.terminate()
        started.wait()


async def scrape_all(urls: list[str], accept: str) -> dict[str, float]:
    """Times are from the first request to the last answer."""
    took_s, sizes, sent = [], [], []
    limits, headers = httpx.Limits(max_connections=None), {"accept": accept}
    async with httpx.AsyncClient(timeout=30, limits=limits, headers=headers) as client:
        for _ in range(SCRAPES + 1):
            began_s = time.perf_counter()
            answers = await asyncio.gather(*(client.get(url) for url in urls))
            took_s.append(time.perf_counter() - began_s)
            sizes.append(max(len(answer.content) for answer in answers))
            sent.append(max(int(answer.headers["content-length"]) for answer in answers))
    took_s = sorted(took_s[1:])
    return {
        "best_ms": round(1000 * took_s[0], 1),
        "median_ms": round(1000 * took_s[len(took_s) // 2], 1),
        "worst_ms": round(1000 * took_s[-1], 1),
        "page_bytes": max(sizes),
        "page_gzip_bytes": max(sent),
    }


def measure(nodes: int, replicas_each: int, page: Path | None) -> dict[str, Any]:
    arguments = [str(page)] if page is not None else []
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        ports: list[str] = []
        while len(ports) < nodes * replicas_each:
            count = min(ENGINES_IN_A_PROCESS, nodes * replicas_each - len(ports))
            ports += stack.enter_context(process("scraped_engines", str(count), *arguments)).split()
        urls = []
        for node in range(nodes):
            engines = [f"http://127.0.0.1:{p}" for p in ports[node * replicas_each : (node + 1) * replicas_each]]
            port = stack.enter_context(process("scraped_node", f"{folder}/{node}", *engines))
            urls.append(f"http://127.0.0.1:{port}/metrics")
        up = sum(httpx.get(url).text.count("\nbaryon_replica_up{") for url in urls)
        assert up == nodes * replicas_each
        told = httpx.get(urls[0], headers={"accept": PROTOBUF}).headers["content-type"]
        assert told.startswith("application/vnd.google.protobuf")
        in_text, in_protobuf = (asyncio.run(scrape_all(urls, accept)) for accept in ("", PROTOBUF))
        return {"nodes": nodes, "replicas": up, **in_text, "protobuf": in_protobuf}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page"
        subprocess.run([sys.executable, "-m", "tests.benchmarks.vllm_page", str(page)], check=True, capture_output=True)
        report = {
            "commit": commit_id(),
            "cores": len(os.sched_getaffinity(0)),
            "vllm_page_bytes": page.stat().st_size,
            "8 replicas, vLLM's pages": measure(1, 8, page),
            "200 simulated replicas": measure(8, 25, None),
            "200 replicas, vLLM's pages": measure(8, 25, page),
        }
    for name, told in report.items():
        print(name, told)
    if arguments.json:
        write_json(report, arguments.json)


if __name__ == "__main__":
    main()
