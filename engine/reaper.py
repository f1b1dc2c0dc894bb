"""Stands between a supervisor and an engine so that no process of the engine outlives either of them.

`python -m engine.reaper NICENESS COMMAND…`: runs COMMAND and adopts whatever it leaves orphaned
(`PR_SET_CHILD_SUBREAPER`). The whole tree is killed when

- standard input ends, which is how the supervisor's death looks whatever killed it;
- COMMAND exits, leaving engine cores or workers behind;
- one of the engine's own processes (vLLM titles them `VLLM::…`) is gone while COMMAND still runs.

A parent-death signal would reach only COMMAND, and vLLM's engine core and workers are its grandchildren.

COMMAND leads a session and process group of its own: killing the group ends in one step what forks faster than it can
be found, and the reaper, which is in neither that group nor its supervisor's, outlives them both. It stays until none
is left. Where the kernel shares the CPU between sessions first (sched(7), autogroup), NICENESS is the session's too.

Ray kills a worker's children when the worker exits, so supervisor and reaper can go in the same moment. The warden, a
fork that neither of them is an ancestor of, kills COMMAND's group then.

Exits with COMMAND's own code, or 128 + the signal that ended it.
"""

import contextlib
import ctypes
import functools
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.process_tree import Member, descendants, is_alive, kill_all, read_member

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TICK_S = 0.5
LONG_LIVED_TITLE = "VLLM::"
STOP = b"T"
DONE = b"."
STOP_GRACE_S = 5.0
COMPLAIN_PERIOD_S = 5.0
LOST_MEMBER_EXIT = 75
AUTOGROUP = Path("/proc/self/autogroup")
AUTOGROUP_ATTEMPTS = 20


def main(argv: list[str]) -> int:
    warden = _start_warden()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    prepare = functools.partial(_before_the_command, niceness=int(argv[0]))
    child = subprocess.Popen(argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=prepare)
    leader = read_member(child.pid)
    assert leader is not None, "an unreaped child is always there"
    os.write(warden, b"%d" % child.pid)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_end(child, leader, 128 + signal.SIGTERM)))
    code = _watch(child, leader, wake_reader)
    os.write(warden, DONE)
    return code


def _start_warden() -> int:
    """A pipe to the warden: it is told the group to kill should the pipe end without `DONE`.

    Forked twice, and before this process adopts orphans, so that the warden is nobody's child here.
    """
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        if os.fork() == 0:
            os.close(writer)
            _be_the_warden(reader)
        os._exit(0)
    os.waitpid(between, 0)
    os.close(reader)
    return writer


def _be_the_warden(reader: int) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    told = b""
    while news := os.read(reader, 64):
        told += news
    if told and not told.endswith(DONE):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(told), signal.SIGKILL)
    os._exit(0)


def _watch(child: "subprocess.Popen[bytes]", leader: Member, wake_reader: int) -> int:
    long_lived: dict[int, Member] = {}
    stop_at_s: float | None = None
    while True:
        ready, _, _ = select.select([sys.stdin.fileno(), wake_reader], [], [], TICK_S)
        if wake_reader in ready:
            os.read(wake_reader, 4096)
        if sys.stdin.fileno() in ready:
            if os.read(sys.stdin.fileno(), 1) != STOP:
                return _end(child, leader, 128 + signal.SIGKILL)
            stop_at_s = stop_at_s or time.monotonic() + STOP_GRACE_S
            child.terminate()
        _reap_orphans(child.pid)
        if child.poll() is not None:
            return _end(child, leader, _exit_code(child.returncode))
        if stop_at_s is not None:
            if time.monotonic() >= stop_at_s:
                return _end(child, leader, 128 + signal.SIGKILL)
            continue
        lost = [member for member in long_lived.values() if not is_alive(member)]
        if lost and child.poll() is None:
            print(f"[reaper] {lost[0].title} (pid {lost[0].pid}) is gone: ending the engine", file=sys.stderr)
            return _end(child, leader, LOST_MEMBER_EXIT)
        long_lived |= {m.pid: m for m in descendants(child.pid) if m.title.startswith(LONG_LIVED_TITLE)}


def _end(child: "subprocess.Popen[bytes]", leader: Member, code: int) -> int:
    """Again for whatever was forked, and so adopted, between a look and its signal."""
    while True:
        survivors = kill_all([leader, *_living_descendants()], COMPLAIN_PERIOD_S)
        for member in survivors:
            print(f"[reaper] {member.title} (pid {member.pid}) cannot be killed: waiting for it", file=sys.stderr)
        if not survivors and not _living_descendants():
            break
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(1)
    return code


def _before_the_command(niceness: int) -> None:
    """Runs in the child. The signal is for a reaper killed before its supervisor has seen the child."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if niceness:
        os.nice(niceness)
        _yield_as_a_session(niceness)


def _yield_as_a_session(niceness: int) -> None:
    """The kernel allows an unprivileged change every 0.1 s on the whole machine, and says EAGAIN to another."""
    for _ in range(AUTOGROUP_ATTEMPTS):
        try:
            with AUTOGROUP.open("w") as autogroup:
                autogroup.write(str(niceness))
        except BlockingIOError:
            time.sleep(0.1)
        except OSError:
            return
        else:
            return


def _living_descendants() -> list[Member]:
    return [member for member in descendants(os.getpid()) if not member.is_zombie]


def _reap_orphans(child_pid: int) -> None:
    """Collect adopted processes that ended; the child itself is left for `Popen.poll`."""
    for member in descendants(os.getpid()):
        if member.is_zombie and member.pid != child_pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(member.pid, os.WNOHANG)


def _exit_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
