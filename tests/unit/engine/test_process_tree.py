"""No process of an engine outlives its supervisor, its server, or its reaper: shown on cheap processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from engine.engine_process import EngineProcess
from engine.failure import EngineFailed
from engine.launch import Command, EngineLaunch
from engine.probe import EngineProbe
from engine.process_tree import Member, descendants, is_alive, kill_all, read_member, send_signal
from engine.reaper import LEFTOVERS_PERIOD_S

pytestmark = pytest.mark.slow

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
NOBODY_LISTENS_PORT = 9
LAUNCH = EngineLaunch("m", Path("/w"), "cpu", "127.0.0.1", NOBODY_LISTENS_PORT, "token")


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


LITTERING = """
import ctypes, setproctitle, signal, tempfile, time
from multiprocessing.shared_memory import SharedMemory
setproctitle.setproctitle('VLLM::EngineCore')
ours = SharedMemory(create=True, size=4096)
native = f'{ours.name}-native'
fd = ctypes.CDLL(None).shm_open(f'/{native}'.encode(), 0o102, 0o600)
import mmap, os
os.ftruncate(fd, 4096)
mapped = mmap.mmap(fd, 4096)
_, path = tempfile.mkstemp()
print('/dev/shm/' + ours.name, '/dev/shm/' + native, path, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("end", ["stop", "kill", "SIGKILL of the reaper", "SIGKILL of all but the warden"])
async def test_what_an_engine_kept_in_shared_memory_and_temporary_files_goes_with_it(tmp_path: Path, end: str) -> None:
    server = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {LITTERING!r}]); time.sleep(600)"
    engine = EngineProcess(Command((sys.executable, "-c", server), {}), tmp_path / "log", "r")
    async with asyncio.timeout(30):
        while not engine.log.tail():
            await asyncio.sleep(0.05)
        litter = [Path(name) for name in engine.log.tail()[0].split()]
        assert all(path.exists() for path in litter)
        if end.startswith("SIGKILL"):
            await asyncio.sleep(LEFTOVERS_PERIOD_S + 1)
            members = engine.members()
            for member in members if "warden" in end else members[:1]:
                send_signal(member, signal.SIGKILL)
        await (engine.stop() if end == "stop" else engine.kill())
        while any(path.exists() for path in litter) or litter[-1].parent.exists():
            await asyncio.sleep(0.05)


async def test_shared_memory_that_was_there_before_the_engine_stays(tmp_path: Path) -> None:
    theirs = SharedMemory(create=True, size=4096)
    try:
        await asyncio.sleep(0.1)
        code = f"from multiprocessing.shared_memory import SharedMemory as S; import os, time; s = S({theirs.name!r});"
        code += " print(os.environ['TMPDIR'], flush=True); time.sleep(600)"
        engine = EngineProcess(Command((sys.executable, "-c", code), {}), tmp_path / "log", "r")
        async with asyncio.timeout(20):
            while not engine.log.tail():
                await asyncio.sleep(0.05)
        await engine.kill()
        assert not Path(engine.log.tail()[0]).exists()
        assert Path("/dev/shm", theirs.name).exists()
    finally:
        theirs.close()
        theirs.unlink()


async def test_stopping_leaves_nothing_and_keeps_the_log(tmp_path: Path) -> None:
    engine, named = await started(tmp_path)
    await engine.stop()
    assert not any(map(is_alive, named.values()))
    assert (tmp_path / "engine.log").read_text() == "[r1] started\n"
    assert engine.log.tail() == ["started"]


@pytest.mark.parametrize("with_reaper", [False, True])
async def test_a_supervisor_that_is_killed_takes_all_along(tmp_path: Path, with_reaper: bool) -> None:
    """Ray kills a worker's children with it, the reaper among them."""
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
        if with_reaper:
            supervisor.send_signal(signal.SIGSTOP)
            os.kill(next(member.pid for member in tree if "engine.reaper" in member.title), signal.SIGKILL)
        supervisor.kill()
        async with asyncio.timeout(10):
            while any(map(is_alive, tree)):
                await asyncio.sleep(0.05)


async def test_a_reaper_killed_while_the_engine_still_loads_leaves_nothing(tmp_path: Path) -> None:
    """Nobody but `wait_ready` looks at the processes then; loading may take half an hour."""
    engine = EngineProcess(COMMAND, tmp_path / "engine.log", "r1")
    probe = EngineProbe(LAUNCH)
    waiting = asyncio.create_task(probe.wait_ready(engine, 60))
    tree: list[Member] = []
    async with asyncio.timeout(20):
        while not any(member.title == "VLLM::Worker" for member in tree):
            tree = engine.members()
            await asyncio.sleep(0.05)
        os.kill(tree[0].pid, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="killed"):
            await waiting
    assert not any(map(is_alive, tree))
    await probe.close()


async def test_a_reaper_killed_before_anybody_saw_the_engine_takes_it_along(tmp_path: Path) -> None:
    mark = f"baryon-unseen-{os.getpid()}"
    engine = EngineProcess(
        Command((sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)", mark), {}),
        tmp_path / "log",
        "r",
    )
    async with asyncio.timeout(10):
        while "up" not in engine.log.tail():
            await asyncio.sleep(0.01)
        reaper = next(iter(engine._members.values()))
        engine._members = {reaper.pid: reaper}
        os.kill(reaper.pid, signal.SIGKILL)
        await engine.ended.wait()
        while carrying(mark):
            await asyncio.sleep(0.01)


async def test_a_command_that_yields_does_so_as_a_process_and_as_a_session(tmp_path: Path) -> None:
    code = "import os; print(os.nice(0), os.getsid(0) == os.getpid(), open('/proc/self/autogroup').read(), flush=True)"
    engine = EngineProcess(Command((sys.executable, "-c", code), {}, niceness=7), tmp_path / "log", "r")
    async with asyncio.timeout(10):
        await engine.ended.wait()
    niceness, leads_session, *autogroup = engine.log.tail()[0].split()
    assert (niceness, leads_session) == ("7", "True")
    assert autogroup[-2:] in ([], ["nice", "7"]), "empty where the kernel has no autogroups"


def carrying(mark: str) -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if titled(int(path.name), mark)]


async def test_an_engine_that_is_not_ready_in_time_says_its_last_line(tmp_path: Path) -> None:
    engine = EngineProcess(COMMAND, tmp_path / "engine.log", "r1")
    probe = EngineProbe(LAUNCH)
    with pytest.raises(EngineFailed, match=r"start_timeout.*its last line was: (started|.none.)"):
        await probe.wait_ready(engine, 1.0)
    await engine.kill()
    await probe.close()


async def test_orphans_are_adopted_and_end_with_the_engine(tmp_path: Path) -> None:
    """Twice forked and in a session of its own: a parent-death signal would not reach it."""
    orphan = "import os, time\nif os.fork(): os._exit(0)\nos.setsid(); time.sleep(600)"
    server = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {orphan!r}]); "
    stays = Command((sys.executable, "-c", server + "print('started', flush=True); time.sleep(600)"), {})
    engine = EngineProcess(stays, tmp_path / "log", "r")
    async with asyncio.timeout(20):
        while "started" not in engine.log.tail():
            await asyncio.sleep(0.05)
        reaper, *below = engine.members()
        assert len(below) == 2
        os.kill(below[0].pid, signal.SIGKILL)
        await engine.ended.wait()
    assert not any(map(is_alive, (reaper, *below)))


@pytest.mark.parametrize("own_groups", [False, True])
async def test_processes_that_fork_while_they_are_killed_do_not_escape(tmp_path: Path, own_groups: bool) -> None:
    mark = f"baryon-forker-{os.getpid()}"
    engine = EngineProcess(beside_a_forking_chain(own_groups, mark), tmp_path / "log", "r")
    async with asyncio.timeout(20):
        while "started" not in engine.log.tail():
            await asyncio.sleep(0.05)
        await engine.stop()
    assert not carrying(mark)


@pytest.mark.parametrize("end", ["SIGKILL", "SIGSTOP"])
async def test_forking_processes_do_not_escape_without_their_reaper_either(tmp_path: Path, end: str) -> None:
    mark = f"baryon-forker-{os.getpid()}"
    engine = EngineProcess(beside_a_forking_chain(False, mark), tmp_path / "log", "r")
    async with asyncio.timeout(20):
        while "started" not in engine.log.tail():
            await asyncio.sleep(0.05)
        os.kill(engine.members()[0].pid, signal.Signals[end])
        await engine.kill()
    async with asyncio.timeout(10):
        while carrying(mark):
            await asyncio.sleep(0.05)


def beside_a_forking_chain(own_groups: bool, mark: str) -> Command:
    run = f"subprocess.run([sys.executable, '-c', {forks(own_groups)!r}, {mark!r}])"
    code = f"import subprocess, sys, time; {run}; time.sleep(60)"
    return Command((sys.executable, "-c", code), {})


def forks(own_groups: bool) -> str:
    """Replaces itself every 20 ms, for 60 s: a chain of processes of which none lives long enough to be signalled."""
    return f"""
import os, time
end_s = time.monotonic() + 60
print('started', flush=True)
while time.monotonic() < end_s:
    if os.fork(): time.sleep(0.02); os._exit(0)
    if {own_groups}: os.setpgid(0, 0)
"""


def titled(pid: int, mark: str) -> bool:
    member = read_member(pid)
    return member is not None and mark in member.title and not member.is_zombie


async def test_an_engine_that_ends_well_in_time_keeps_its_own_exit_code(tmp_path: Path) -> None:
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(0)))"
    engine = EngineProcess(
        Command((sys.executable, "-c", code + "; print('up', flush=True); time.sleep(600)"), {}), tmp_path / "log", "r"
    )
    async with asyncio.timeout(20):
        while not engine.log.tail():
            await asyncio.sleep(0.05)
        await engine.stop()
    assert engine.log.tail() == ["up", "bye"]
    assert engine.failure().message.startswith("The engine exited with code 0.")


async def test_an_engine_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    engine = EngineProcess(Command((sys.executable, "-c", code), {}), tmp_path / "log", "r")
    async with asyncio.timeout(20):
        while not engine.log.tail():
            await asyncio.sleep(0.05)
        members = engine.members()
        await engine.stop()
    assert not any(map(is_alive, members))
    assert engine.failure().cause == "killed"


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
