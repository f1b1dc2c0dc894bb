"""A Ray head node of our own on this machine, started and ended by id."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cluster.config import RayConfig
from engine.process_tree import Member, descendants, is_alive, kill_all, read_member, send_signal

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
OBJECT_STORE_BYTES = 128 * 1024 * 1024
LOWEST_WORKER_PORT, HIGHEST_WORKER_PORT = 10_002, 31_999
WORKER_PORTS = range(LOWEST_WORKER_PORT, HIGHEST_WORKER_PORT + 1)
MOST_WORKER_PORTS = 9_998
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
}


class RayStartError(Exception):
    """Ray did not come up."""


@dataclass(frozen=True, slots=True)
class RayHead:
    """`process` is `ray start --block`, the parent of everything this cluster runs on this machine."""

    process: Member
    gcs_address: str
    dashboard_url: str


def worker_ports(others: Collection[int]) -> tuple[int, int]:
    """The first and last of those that Ray's workers may listen on: up to 10,000, none of which is anybody else's.

    They are below those that Linux gives to whoever asks for any (32,768 and up).
    """
    edges = [LOWEST_WORKER_PORT - 1, *sorted(p for p in others if p in WORKER_PORTS), HIGHEST_WORKER_PORT + 1]
    below, above = max(pairwise(edges), key=lambda edge: min(edge[1] - edge[0], MOST_WORKER_PORTS))
    return below + 1, min(above - 1, below + MOST_WORKER_PORTS)


def start_ray_head(config: RayConfig, folder: Path, others_ports: Collection[int]) -> RayHead:
    """Start `ray start --head --block` in a session of its own and wait until its dashboard answers.

    `others_ports`: which something else of the cluster will listen on.

    Raises:
        RayStartError: it ended or did not answer in time; the message has its last words.
    """
    _ensure_auth_token()
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    argv = [ray_executable(), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}"]
    argv += ["--include-dashboard=true", f"--dashboard-host={config.dashboard_host}"]
    argv += [f"--dashboard-port={config.dashboard_port}", f"--temp-dir={folder}"]
    lowest, highest = worker_ports([config.dashboard_port, *others_ports])
    argv += [f"--min-worker-port={lowest}", f"--max-worker-port={highest}"]
    argv += ["--disable-usage-stats", f"--object-store-memory={OBJECT_STORE_BYTES}"]
    argv += [f"--num-cpus={config.num_cpus}"] if config.num_cpus is not None else []
    argv += [f"--num-gpus={config.num_gpus}"] if config.num_gpus is not None else []
    log = folder / "start.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **ENVIRONMENT},
        )
    member = read_member(process.pid)
    assert member is not None
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not _listens(config.dashboard_host, config.dashboard_port):
        if process.poll() is not None or time.monotonic() > deadline_s:
            kill_all([member, *descendants(member.pid)])
            raise RayStartError(f"Ray did not start. Its last words, from {log}:\n{_last_words(log)}")
        time.sleep(0.1)
    return RayHead(member, f"127.0.0.1:{port}", f"http://{config.dashboard_host}:{config.dashboard_port}")


def stop_ray_head(process: Member) -> list[Member]:
    """End the head node and everything below it; what could not be ended, which should be nothing."""
    tree = [process, *descendants(process.pid)]
    send_signal(process, signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while any(map(is_alive, tree)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return kill_all(tree)


def ray_executable() -> str:
    """The `ray` command beside this Python."""
    beside = Path(sys.executable).with_name("ray")
    return str(beside) if beside.exists() else shutil.which("ray") or "ray"


def auth_token() -> str | None:
    """Ray's cluster token (Ray ≥ 2.52), where Ray itself looks for it; None where authentication is off."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _ensure_auth_token() -> None:
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and auth_token() is None:
        done = subprocess.run(
            [ray_executable(), "get-auth-token", "--generate"],
            capture_output=True,
            text=True,
            check=False,
            umask=0o077,
        )
        if done.returncode != 0:
            raise RayStartError(f"Ray could not make its authentication token: {done.stderr.strip()[-400:]}")
    _keep_private(Path.home() / ".ray" / "auth_token")


def _keep_private(token: Path) -> None:
    """Ray makes the file readable for all, and whoever has the token runs what he likes as this user."""
    with contextlib.suppress(OSError):
        if token.stat().st_mode & 0o077:
            token.chmod(0o600)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 0.5).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-12:])
