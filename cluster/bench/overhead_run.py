"""Runs the overhead benchmark on a cluster of its own: the tiny model, a gateway, nothing else."""

import asyncio
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from cluster.bench.http_load import Target
from cluster.bench.overhead import OverheadPlan, OverheadResult, as_json, measure_overhead
from cluster.bring_up import OnEvent, check_before_start, running_cluster, wait_until_serving
from cluster.config import BaryonConfig
from cluster.config_file import parse_config
from cluster.live_state import LiveState
from cluster.run_folder import RunFolder, RunRecord
from cluster.serve_api import ServeApi

MODEL = "tiny-random-llama"
CONFIG = """
gateway: {{port: {port}}}
ray: {{dashboard_port: {dashboard_port}}}
models:
  - name: tiny-random-llama
    source: bundled:tiny-random-llama
    kv_cache_gib: 0.5
    engine_args: {{max_model_len: 2048}}
"""
START_TIMEOUT_S = 300.0


def run_overhead(plan: OverheadPlan, ports: tuple[int, int], on_event: OnEvent) -> dict[str, Any]:
    """Start, measure, end. The document has the ratios, the gateway's resident memory and every raw round.

    Raises:
        BringUpError, OverheadError, LoadError, OSError: it could not be measured.
    """
    settings: BaryonConfig = parse_config(CONFIG.format(port=ports[0], dashboard_port=ports[1]), "bench")
    with tempfile.TemporaryDirectory(prefix="bn-") as path:
        folder = RunFolder(Path(path) / "run")
        check_before_start(settings, folder)
        with running_cluster(settings, folder, "bench", on_event) as record:
            wait_until_serving(record, on_event, START_TIMEOUT_S)
            gateway_pid = _gateway_pid(record)
            direct = _engine_target(record)
            through = Target("gateway", "127.0.0.1", ports[0])
            rss_before_mb = rss_mb(gateway_pid)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                result: OverheadResult = runner.run(measure_overhead(direct, through, plan))
            return {
                "benchmark": "overhead",
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "commit": commit_id(),
                "machine": {"cpus": len(os.sched_getaffinity(0)), "architecture": platform.machine()},
                "gateway_rss_mb": rss_mb(gateway_pid),
                "gateway_rss_mb_before": rss_before_mb,
                **as_json(result),
            }


def commit_id() -> str | None:
    """The checkout's commit, with `+` if files differ from it; None outside a checkout."""
    folder = Path(__file__).parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, text=True, check=False
    )
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "") if commit.returncode == 0 else None


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10⁶ bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _gateway_pid(record: RunRecord) -> int:
    gateway = ServeApi(record.dashboard_url).applications()["gateway"]
    return int(gateway["deployments"]["Gateway"]["replicas"][0]["pid"])


def _engine_target(record: RunRecord) -> Target:
    """The engine's own address and token, learned as a gateway learns them."""
    with LiveState(record.gcs_address) as state:
        replica = state.first_replica(MODEL)
    host, port = replica["url"].removeprefix("http://").split(":")
    return Target("direct", host, int(port), (("x-baryon-internal-token", replica["token"]),))


def write_json(document: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
