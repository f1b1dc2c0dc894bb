"""What a request and a streamed chunk cost in CPU: our gateway beside vllm-router, same engine, same run.

`python -m tests.benchmarks.gateway_cpu [--router PATH] [--json OUT]`. CPU time is the process's own, so a noisy
neighbour on the machine changes it little. vllm-router is measured where it is installed.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from cluster.bench.http_load import Target, post, run_streams

CHUNKS = 100
INTERVAL_MS = 10.0
STREAMS = 32
UNARY_REQUESTS = 3000
ROUNDS = 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    """To the nanosecond: the process's own clock, of which Linux makes the number from its id."""
    return time.clock_gettime((~pid << 3) | 2)


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def running(argv: list[str], port: int, folder: Path | None = None) -> Iterator[int]:
    """`folder`: whose code it runs, if not this one's."""
    env = {**os.environ, "PYTHONPATH": str(folder)} if folder else None
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, env=env) as process:
        try:
            deadline_s = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline_s or process.poll() is not None:
                        raise
                    time.sleep(0.1)
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)


def chat(stream: bool) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": "What is the capital of France?"}], "stream": stream}


async def unary(target: Target, pid: int) -> float:
    """Microseconds of CPU per request without streaming."""
    request = post(target, "/v1/chat/completions", chat(stream=False))
    await run_streams(target, 8, 25, lambda _: request)
    before_s = cpu_s(pid)
    _, replies = await run_streams(target, 8, UNARY_REQUESTS // 8, lambda _: request)
    assert all(reply.status == 200 for reply in replies), replies[0]
    return (cpu_s(pid) - before_s) / len(replies) * 1e6


async def per_chunk(target: Target, pid: int) -> float:
    """Microseconds of CPU per streamed chunk, the request itself shared among its chunks."""
    request = post(target, "/v1/chat/completions", chat(stream=True))
    await run_streams(target, STREAMS, 1, lambda _: request)
    before_s = cpu_s(pid)
    _, replies = await run_streams(target, STREAMS, 4, lambda _: request)
    assert all(reply.status == 200 for reply in replies), replies[0]
    return (cpu_s(pid) - before_s) / (len(replies) * CHUNKS) * 1e6


async def measure(router: str | None) -> dict[str, object]:
    engine_port, gateway_port, router_port = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{engine_port}"
    ours = (sys.executable, "-m")
    results: dict[str, dict[str, list[float]]] = {}
    with (
        running([*ours, "tests.benchmarks.fake_engine", str(engine_port), str(CHUNKS), str(INTERVAL_MS)], engine_port),
        running([*ours, "tests.benchmarks.lone_gateway", str(gateway_port), url], gateway_port) as gateway_pid,
        running(
            [router, "--host", "127.0.0.1", "--port", str(router_port), "--worker-urls", url, "--policy", "round_robin",
             "--prometheus-port", str(free_port())] if router else ["sleep", "3600"],
            router_port if router else engine_port,
        ) as router_pid,
    ):  # fmt: skip
        targets = [(Target("baryon", "127.0.0.1", gateway_port), gateway_pid)]
        if router:
            targets.append((Target("vllm-router", "127.0.0.1", router_port), router_pid))
        for number in range(ROUNDS):
            for target, pid in targets if number % 2 == 0 else reversed(targets):
                row = results.setdefault(target.name, {"unary_us": [], "chunk_us": [], "rss_mb": []})
                row["unary_us"].append(await unary(target, pid))
                row["chunk_us"].append(await per_chunk(target, pid))
                row["rss_mb"].append(rss_mb(pid))
    medians = {name: {key: statistics.median(values) for key, values in row.items()} for name, row in results.items()}
    ratios = {}
    if "vllm-router" in medians:
        ratios = {key: medians["baryon"][key] / medians["vllm-router"][key] for key in ("unary_us", "chunk_us")}
    return {"medians": medians, "ratio_to_vllm_router": ratios, "rounds": results}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--router", default=shutil.which("vllm-router"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(measure(arguments.router))
    text = json.dumps(result, indent=1)
    print(json.dumps({key: result[key] for key in ("medians", "ratio_to_vllm_router")}, indent=1))
    if arguments.json:
        arguments.json.write_text(text + "\n")
