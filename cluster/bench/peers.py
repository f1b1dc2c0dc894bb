"""What else could stand before the engine here: vllm-router and Ray Serve LLM, each where it is installed.

Neither knows our internal token, so both are compared with an engine of the same arguments without our guard:
vllm-router stands before that one, Ray Serve LLM runs its own.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from cluster.bench.http_load import Target
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.launch import EngineLaunch
from engine.probe import EngineProbe
from engine.process_tree import descendants
from engine.vllm_command import vllm_command

HOST = "127.0.0.1"
START_TIMEOUT_S = 300.0
POLL_S = 0.2
GUARD = "--middleware"


@dataclass(frozen=True, slots=True)
class Peer:
    """Where it answers, and the processes that stand between a client and the engine: those below `pid` so titled."""

    target: Target
    pid: int
    titles: tuple[str, ...]

    def rss_mb(self) -> float:
        """Resident memory of those processes in MB (10⁶ bytes); of the one with this pid if no title is given."""
        on_path = [m.pid for m in descendants(self.pid) if any(title in m.title for title in self.titles)]
        return round(sum(rss_mb(pid) for pid in (on_path if self.titles else [self.pid])), 1)


class PeerError(Exception):
    """A peer that is installed did not start; its last words are in the message."""


@asynccontextmanager
async def plain_engine(launch: EngineLaunch, folder: Path) -> AsyncIterator[Target]:
    """vLLM's own server without our guard: what `vllm serve` is."""
    guarded = vllm_command(launch, available_cores())
    at = guarded.argv.index(GUARD)
    command = replace(guarded, argv=guarded.argv[:at] + guarded.argv[at + 2 :])
    engine, probe = EngineProcess(command, folder / "plain.log", "plain"), EngineProbe(launch)
    try:
        await probe.wait_ready(engine, START_TIMEOUT_S)
        yield Target("engine", HOST, launch.port)
    finally:
        await engine.kill()
        await probe.close()


@contextmanager
def vllm_router(program: str, engine: Target, folder: Path, model: str) -> Iterator[Peer]:
    """The Rust router of the vLLM project before `engine`."""
    port = free_port()
    arguments = ("--host", HOST, "--port", str(port), "--worker-urls", f"http://{engine.host}:{engine.port}")
    more = ("--policy", "round_robin", "--prometheus-port", str(free_port()))
    with _running((program, *arguments, *more), folder / "vllm-router.log") as process:
        _wait_until_it_answers(Target("vllm-router", HOST, port), model, process, folder / "vllm-router.log")
        yield Peer(Target("vllm-router", HOST, port), process.pid, ())


@contextmanager
def ray_serve_llm(weights: Path, folder: Path, model: str) -> Iterator[Peer]:
    """Ray Serve LLM with its default ingress and an engine of its own."""
    port = free_port()
    command = (sys.executable, "-m", "cluster.bench.ray_serve_llm", str(port), str(weights), model)
    with _running(command, folder / "ray-serve-llm.log") as process:
        _wait_until_it_answers(Target("ray-serve-llm", HOST, port), model, process, folder / "ray-serve-llm.log")
        yield Peer(Target("ray-serve-llm", HOST, port), process.pid, ("ProxyActor", "OpenAiIngress"))


def ray_serve_llm_is_installed() -> bool:
    """Ray brings its code always, and some of what that imports with `ray[llm]` only."""
    tried = subprocess.run([sys.executable, "-c", "import ray.serve.llm"], capture_output=True, check=False)
    return tried.returncode == 0


@contextmanager
def _running(command: tuple[str, ...], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_it_answers(target: Target, model: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    url = f"http://{target.host}:{target.port}/v1/completions"
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            answer = httpx.post(url, json={"model": model, "prompt": "a", "max_tokens": 1}, timeout=30, trust_env=False)
            if answer.is_success:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise PeerError(f"{target.name} did not start: {log.read_text(errors='replace')[-600:]}")
        time.sleep(POLL_S)


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10⁶ bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
