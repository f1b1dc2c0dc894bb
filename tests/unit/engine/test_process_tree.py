"""No process of an engine outlives its supervisor, its server, or its reaper: shown on cheap processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.engine_process import EngineProcess
from engine.launch import Command
from engine.process_tree import Member, descendants, is_alive, kill_all, read_member, send_signal

WORKER = "import setproctitle, time; setproctitle.setproctitle('VLLM::Worker'); time.sleep(600)"
CORE = f"""
import setproctitle, subprocess, sys, time
setproctitle.setproctitle('VLLM::EngineCore')
subprocess.Popen([sys.executable, '-c', {WORKER!r}])
time.sleep(600)
"""
SERVER = f"""
import subprocess, sys, time
core = subprocess.Popen([sys.executable, '-c', {CORE!r}])
print('started', flush=True)
time.sleep(600)
"""
COMMAND = Command((sys.executable, "-c", SERVER), {})


async def started(tmp_path: Path) -> tuple[EngineProcess, dict[str, Member]]:
    engine = EngineProcess(COMMAND, tmp_path / "engine.log", "r1")
    async with asyncio.timeout(20):
        while True:
            members = engine.members()
            named = {m.title.removeprefix("VLLM::"): m for m in members if m.title.startswith("VLLM::")}
            if set(named) == {"EngineCore", "Worker"}:
                return engine, {**named, "reaper": members[0], "server": members[1]}
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("victim", ["server", "EngineCore", "Worker", "reaper"])
async def test_killing_any_member_ends_them_all(tmp_path: Path, victim: str) -> None:
    engine, named = await started(tmp_path)
    await asyncio.sleep(1.2)
    os.kill(named[victim].pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await engine.ended.wait()
        while any(map(is_alive, named.values())):
            await asyncio.sleep(0.05)
    assert engine.failure().cause == "killed"


async def test_stopping_leaves_nothing_and_keeps_the_log(tmp_path: Path) -> None:
    engine, named = await started(tmp_path)
    await engine.stop()
    assert not any(map(is_alive, named.values()))
    assert (tmp_path / "engine.log").read_text() == "[r1] started\n"
    assert engine.log.tail() == ["started"]


async def test_a_supervisor_that_is_killed_takes_all_along(tmp_path: Path) -> None:
    code = f"""
import asyncio
from pathlib import Path
from engine.engine_process import EngineProcess
from engine.launch import Command
async def main():
    engine = EngineProcess(Command({COMMAND.argv!r}, {{}}), Path({str(tmp_path / "log")!r}), "r")
    await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code]) as supervisor:
        tree: list[Member] = []
        async with asyncio.timeout(20):
            while not any(member.title == "VLLM::Worker" for member in tree):
                tree = descendants(supervisor.pid)
                await asyncio.sleep(0.05)
        supervisor.kill()
        async with asyncio.timeout(10):
            while any(map(is_alive, tree)):
                await asyncio.sleep(0.05)


def test_a_recycled_pid_is_left_alone() -> None:
    mine = read_member(os.getpid())
    assert mine is not None
    stranger = Member(mine.pid, mine.start_ticks - 1, mine.title)
    assert not is_alive(stranger)
    send_signal(stranger, signal.SIGKILL)
    assert kill_all([stranger], 0.1) == []


async def test_a_full_disk_loses_lines_and_not_the_engine() -> None:
    code = "import time\nfor n in range(200): print('line', n, flush=True)\ntime.sleep(600)"
    engine = EngineProcess(Command((sys.executable, "-c", code), {}), Path("/dev/full"), "r1")
    deadline_s = time.monotonic() + 10
    while "line 199" not in engine.log.tail():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)
    assert not engine.ended.is_set()
    await engine.kill()
