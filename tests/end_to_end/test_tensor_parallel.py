"""Real tensor parallelism: three workers give the same answer as one."""

import asyncio
from pathlib import Path

import httpx
import pytest

from cluster.run_folder import store_folder
from deployments.replica import free_port
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.internal_token import token_now
from engine.launch import EngineLaunch
from engine.memory_budget import GIB
from engine.probe import EngineProbe
from engine.vllm_command import vllm_command
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT

pytestmark = [pytest.mark.engine, pytest.mark.cluster]
QUESTION = {
    "model": CHAT,
    "messages": [{"role": "user", "content": "Name three planets and say one thing about each."}],
    "temperature": 0,
    "max_tokens": 48,
}


async def test_tp3_answers_as_tp1_does(cluster: ClusterProcess, tmp_path: Path) -> None:
    folder = await asyncio.to_thread(ModelStore(store_folder()).materialise, parse_source(f"bundled:{CHAT}"))
    launch = EngineLaunch(
        model=CHAT,
        model_path=folder,
        device="cpu",
        host="127.0.0.1",
        port=free_port("127.0.0.1"),
        internal_token="test",
        tensor_parallel_size=3,
        kv_cache_bytes=GIB // 4,
        engine_args={"max_model_len": 1024},
    )
    engine = EngineProcess(vllm_command(launch, available_cores()), tmp_path / "tp3.log", "tp3")
    probe = EngineProbe(launch)
    try:
        await probe.wait_ready(engine, 240)
        assert sum("Worker_TP" in member.title for member in engine.members()) == 3
        headers = {"x-baryon-internal-token": token_now("test").decode()}
        async with httpx.AsyncClient(base_url=probe.url, headers=headers, timeout=120) as client:
            three = (await client.post("/v1/chat/completions", json=QUESTION)).json()["choices"][0]["message"][
                "content"
            ]
    finally:
        await engine.kill()
        await probe.close()
    one = cluster.post("/v1/chat/completions", QUESTION).json()["choices"][0]["message"]["content"]
    assert three == one
    assert len(three) > 60
