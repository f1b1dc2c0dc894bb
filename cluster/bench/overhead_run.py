"""Runs the overhead benchmark on a cluster of its own: the tiny model, a gateway, nothing else."""

import asyncio
import json
import os
import platform
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from cluster.bench.http_load import Target
from cluster.bench.overhead import OverheadPlan, OverheadResult, measure_overhead
from cluster.bench.peers import Peer, free_port, plain_engine, ray_serve_llm, rss_mb, vllm_router
from cluster.bring_up import Event, OnEvent, check_before_start, running_cluster, wait_until_serving
from cluster.config import BaryonConfig
from cluster.config_file import parse_config
from cluster.live_state import LiveState
from cluster.run_folder import RunFolder, RunRecord, store_folder
from cluster.serve_api import ServeApi
from engine.internal_token import token_now
from engine.launch import EngineLaunch
from engine.memory_budget import GIB
from engine.weights.source import parse_source
from engine.weights.store import ModelStore

MODEL = "tiny-random-llama"
KV_CACHE_BYTES = GIB // 2
CONFIG = """
gateway: {{port: {port}, admin_port: 0}}
ray: {{dashboard_port: {dashboard_port}}}
models:
  - name: tiny-random-llama
    source: bundled:tiny-random-llama
    kv_cache_gib: 0.5
    engine_args: {{max_model_len: 2048}}
"""
START_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Peers:
    """Programs to compare with: vllm-router's path or None, and whether Ray Serve LLM takes part."""

    vllm_router: str | None
    ray_serve_llm: bool


def run_overhead(plan: OverheadPlan, ports: tuple[int, int], peers: Peers, on_event: OnEvent) -> dict[str, Any]:
    """Start, measure, end. The document has the ratios, the gateway's resident memory and every raw round.

    Raises:
        BringUpError, OverheadError, LoadError, PeerError, OSError: it could not be measured.
    """
    settings: BaryonConfig = parse_config(CONFIG.format(port=ports[0], dashboard_port=ports[1]), "bench")
    with tempfile.TemporaryDirectory(prefix="bn-") as path:
        folder = RunFolder(Path(path) / "run")
        check_before_start(settings, folder)
        with running_cluster(settings, folder, "bench", on_event) as record:
            wait_until_serving(record, on_event, START_TIMEOUT_S)
            gateway_pid = _gateway_pid(record)
            pairs = [(Target("gateway", "127.0.0.1", ports[0]), _engine_target(record))]
            rss_before_mb = rss_mb(gateway_pid)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                result, peers_rss_mb = runner.run(_with_peers(pairs, plan, peers, Path(path), on_event))
            gateway = result.added["gateway"]
            return {
                "benchmark": "overhead",
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "commit": commit_id(),
                "machine": {"cpus": len(os.sched_getaffinity(0)), "architecture": platform.machine()},
                "gateway_rss_mb": rss_mb(gateway_pid),
                "gateway_rss_mb_before": rss_before_mb,
                **{name: value for name, value in asdict(gateway).items() if name != "reference"},
                "peers": {name: {**asdict(result.added[name]), "rss_mb": mb} for name, mb in peers_rss_mb.items()},
                "rounds": [asdict(one) for one in result.rounds],
                "single_ttft_ms": result.single_ttft_ms,
            }


async def _with_peers(
    pairs: list[tuple[Target, Target]], plan: OverheadPlan, wanted: Peers, folder: Path, on_event: OnEvent
) -> tuple[OverheadResult, dict[str, float]]:
    """Measure `pairs` and every peer that is there, all in the same rounds; the peers' resident memory in MB."""
    peers: list[Peer] = []
    async with AsyncExitStack() as stack:
        if wanted.vllm_router or wanted.ray_serve_llm:
            weights = ModelStore(store_folder()).materialise(parse_source(f"bundled:{MODEL}"))
            on_event(Event("plain vLLM", "starting", "what the peers are compared with"))
            plain = await stack.enter_async_context(plain_engine(_plain_launch(weights), folder))
        if wanted.vllm_router:
            on_event(Event("vllm-router", "starting"))
            peers.append(stack.enter_context(vllm_router(wanted.vllm_router, plain, folder, MODEL)))
        if wanted.ray_serve_llm:
            on_event(Event("Ray Serve LLM", "starting"))
            peers.append(stack.enter_context(ray_serve_llm(weights, folder, MODEL)))
        on_event(Event("bench", "measuring", f"{plan.rounds} rounds of {plan.streams} streams"))
        result = await measure_overhead([*pairs, *((peer.target, plain) for peer in peers)], plan)
        return result, {peer.target.name: peer.rss_mb() for peer in peers}


def _plain_launch(weights: Path) -> EngineLaunch:
    arguments = {"max_model_len": 2048}
    return EngineLaunch(
        MODEL, weights, "cpu", "127.0.0.1", free_port(), "", kv_cache_bytes=KV_CACHE_BYTES, engine_args=arguments
    )


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


def _gateway_pid(record: RunRecord) -> int:
    gateway = ServeApi(record.dashboard_url).applications()["gateway"]
    return int(gateway["deployments"]["Gateway"]["replicas"][0]["pid"])


def _engine_target(record: RunRecord) -> Target:
    """The engine's own address and token, learned as a gateway learns them."""
    with LiveState(record.gcs_address) as state:
        replica = state.first_replica(MODEL)
    host, port = replica["url"].removeprefix("http://").split(":")
    return Target("direct", host, int(port), (("x-baryon-internal-token", token_now(replica["token"]).decode()),))


def write_json(document: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
