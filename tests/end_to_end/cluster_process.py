"""A cluster as a user starts it: `baryon up FILE`, in a run folder of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import orjson

from cluster.live_state import LiveState
from cluster.run_folder import RunFolder
from engine.process_tree import Member, descendants, is_alive, read_member
from tests.benchmarks.gateway_cpu import free_port

START_TIMEOUT_S = 600.0


class ClusterProcess:
    """`text` is a baryon.yaml without its ports; `always`: lines of every one that is written here."""

    _connected: "ClassVar[ClusterProcess | None]" = None

    def __init__(self, text: str, gateway_processes: int = 1, always: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bn-", dir="/tmp"))
        self._gateway_processes = gateway_processes
        self._always = always
        self.port = free_port()
        self.admin_port = free_port()
        self.dashboard_port = free_port()
        self.metrics_url = f"http://127.0.0.1:{free_port()}"
        self.environment = {**os.environ, "BARYON_RUN_DIR": str(self.folder / "run"), "PYTHONUNBUFFERED": "1"}
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = self.write_config(text)
        # A certificate store for each request costs more than the request; an idle connection may close as it is used.
        self._http = httpx.Client(verify=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0))
        self._log = self.folder / "up.log"

    def write_config(self, text: str, gateway_processes: int | None = None) -> Path:
        path = self.folder / "baryon.yaml"
        processes = gateway_processes or self._gateway_processes
        gateway = f"gateway: {{port: {self.port}, admin_port: {self.admin_port}, processes: {processes}, "
        gateway += "queue_max_waiting: 32}\n"
        gateway += f"ray: {{dashboard_port: {self.dashboard_port}, num_cpus: 8}}\n"
        gateway += f"monitoring: {{port: {self.metrics_url.rpartition(':')[2]}}}\n"
        path.write_text(gateway + self._always + text)
        return path

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", "up", str(self.config)],
            stdout=self._log.open("wb"),
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=self.environment,
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while "Ctrl-C ends it" not in self._log.read_text():
            assert self.process.poll() is None, f"baryon up ended:\n{self._log.read_text()}"
            assert time.monotonic() < deadline_s, (
                f"baryon up is not ready:\n{self._log.read_text()}\n{self.engine_logs()}"
            )
            time.sleep(0.2)

    @property
    def live(self) -> LiveState:
        """A connection that is kept, so that state is asked at once. Ray allows one for each process: another ends."""
        if ClusterProcess._connected is not self:
            if ClusterProcess._connected is not None:
                ClusterProcess._connected._disconnect()
            record = RunFolder(self.folder / "run").read()
            assert record is not None
            self._live = LiveState(record.gcs_address).__enter__()
            ClusterProcess._connected = self
        return self._live

    def _disconnect(self) -> None:
        if ClusterProcess._connected is self:
            self._live.__exit__()
            ClusterProcess._connected = None

    def engine_logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in RunFolder(self.folder / "run").log_folder.glob("*.log"))

    def run(self, *arguments: str, timeout_s: float = 200) -> "subprocess.CompletedProcess[str]":
        """Another `baryon` command against this cluster."""
        command = [sys.executable, "-m", "cluster.cli", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = orjson.loads(done.stdout)
        return document

    def replicas(self, model: str) -> dict[str, int]:
        """Process id of each ready replica, by replica id."""
        return {
            r["replica_id"]: r["pid"]
            for r in self.status()["replicas"]
            if r["model"] == model and r["stage"] == "ready"
        }

    def engine_members(self, replica_pid: int) -> list[Member]:
        """The engine's processes below a replica, the reaper first."""
        return [m for m in descendants(replica_pid) if "engine.reaper" in m.title or "vllm" in m.title.lower()]

    def tree(self) -> list[Member]:
        """The command, Ray's head and all below them. A command that is ending by itself has taken its record away."""
        record = RunFolder(self.folder / "run").read()
        roots = [self.process.pid] if record is None else [self.process.pid, record.pid]
        return [m for m in map(read_member, roots) if m] + [m for pid in roots for m in descendants(pid)]

    def post(self, path: str, body: dict[str, Any], timeout_s: float = 120) -> httpx.Response:
        return self._http.post(self.url + path, json=body, timeout=timeout_s)

    def stop(self) -> list[Member]:
        """Ctrl-C; what is left of the whole cluster ten seconds after the command returned."""
        self._disconnect()
        if self.process.poll() is not None:
            return []
        tree = self.tree()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)
        return self.left_of(tree)

    def left_of(self, tree: list[Member]) -> list[Member]:
        """What is still there ten seconds from now."""
        deadline_s = time.monotonic() + 10
        while any(map(is_alive, tree)) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        return [member for member in tree if is_alive(member)]

    def remove(self) -> None:
        if hasattr(self, "process"):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running_cluster(text: str, gateway_processes: int = 1, always: str = "") -> Iterator[ClusterProcess]:
    """For as long as tests share it; it ends without a process left."""
    process = ClusterProcess(text, gateway_processes, always)
    try:
        process.start()
        yield process
        left = process.stop()
    finally:
        process.remove()
    assert not left, f"processes outlived the cluster: {left}"
