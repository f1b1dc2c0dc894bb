"""Real vLLM: whichever process is killed, nothing of the engine is left ten seconds later, in /dev/shm or /tmp neither.

Its API server is killed in tests/contract/test_vllm_adapter.py, whose engine is already running.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.leftovers import mapped_shared_memory
from engine.process_tree import Member, descendants, is_alive
from engine.reaper import LEFTOVERS_PERIOD_S

pytestmark = pytest.mark.engine

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.probe import EngineProbe
from engine.vllm_command import vllm_command
from tests.contract.test_vllm_adapter import launch
from deployments.replica import free_port

async def main():
    asked = launch(free_port("127.0.0.1"), 2)
    engine = EngineProcess(vllm_command(asked, available_cores()), Path(sys.argv[1]), "tree")
    await EngineProbe(asked).wait_ready(engine, 240)
    print("ready", flush=True)
    while True:
        engine.members()
        await asyncio.sleep(0.2)

asyncio.run(main())
"""


ON_A_CLUSTER_TOO = [pytest.param(victim, marks=pytest.mark.verify) for victim in ("engine core", "supervisor")]


@pytest.mark.parametrize("victim", ["reaper", *ON_A_CLUSTER_TOO])
async def test_nothing_is_left(victim: str, tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path / "engine.log")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert supervisor.stdout is not None
        async with asyncio.timeout(250):
            assert await asyncio.to_thread(supervisor.stdout.readline) == b"ready\n"
        tree = descendants(supervisor.pid)
        await asyncio.sleep(LEFTOVERS_PERIOD_S + 1)
        shared_memory = {path for member in tree for path in mapped_shared_memory(member.pid)}
        folders = {folder for member in tree for folder in temporary_folder(member)}
        assert len(folders) == 1
        assert shared_memory
        os.kill(pid_of(victim, supervisor.pid, tree), signal.SIGKILL)
        async with asyncio.timeout(10):
            while any(map(is_alive, tree)) or any(path.exists() for path in shared_memory | folders):
                await asyncio.sleep(0.1)
    finally:
        supervisor.kill()
        supervisor.wait()


def temporary_folder(member: Member) -> list[Path]:
    variables = Path(f"/proc/{member.pid}/environ").read_text().split("\0")
    return [Path(value.removeprefix("TMPDIR=")) for value in variables if value.startswith("TMPDIR=")]


def pid_of(victim: str, supervisor: int, tree: list[Member]) -> int:
    assert sum("VLLM::Worker" in member.title for member in tree) == 2
    if victim == "supervisor":
        return supervisor
    title = {"engine core": "VLLM::EngineCore", "reaper": "engine.reaper"}[victim]
    return next(member.pid for member in tree if title in member.title)
