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

COMMAND's TMPDIR is a folder of its own. That and its shared memory are removed after it, by whichever is left.

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
from dataclasses import dataclass
from pathlib import Path

from engine.leftovers import Leftovers
from engine.process_tree import Member, descendants, is_alive, kill_all, read_member
from engine.warden import Warden

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TICK_S = 0.5
LEFTOVERS_PERIOD_S = 5.0
LONG_LIVED_TITLE = "VLLM::"
STOP = b"T"
STOP_GRACE_S = 5.0
COMPLAIN_PERIOD_S = 5.0
LOST_MEMBER_EXIT = 75
AUTOGROUP = Path("/proc/self/autogroup")
AUTOGROUP_ATTEMPTS = 20


def main(argv: list[str]) -> int:
    leftovers = Leftovers()
    warden = Warden(leftovers)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    engine = _Engine.start(argv[1:], int(argv[0]), leftovers, warden)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(engine.end(128 + signal.SIGTERM)))
    return _watch(engine, wake_reader)


@dataclass(frozen=True, slots=True)
class _Engine:
    child: "subprocess.Popen[bytes]"
    leader: Member
    leftovers: Leftovers
    warden: Warden

    @classmethod
    def start(cls, command: list[str], niceness: int, leftovers: Leftovers, warden: Warden) -> "_Engine":
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(leftovers.folder)},
            start_new_session=True,
            preexec_fn=functools.partial(_before_the_command, niceness),
        )
        leader = read_member(child.pid)
        assert leader is not None, "an unreaped child is always there"
        warden.guard(child.pid)
        return cls(child, leader, leftovers, warden)

    def look_for_leftovers(self) -> None:
        self.warden.remember(self.leftovers.look(member.pid for member in _living_descendants()))

    def end(self, code: int) -> int:
        """Again for whatever was forked, and so adopted, between a look and its signal."""
        self.look_for_leftovers()
        while True:
            survivors = kill_all([self.leader, *_living_descendants()], COMPLAIN_PERIOD_S)
            for member in survivors:
                print(f"[reaper] {member.title} (pid {member.pid}) cannot be killed: waiting for it", file=sys.stderr)
            if not survivors and not _living_descendants():
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(1)
        self.leftovers.remove()
        self.warden.dismiss()
        return code


def _watch(engine: _Engine, wake_reader: int) -> int:
    child = engine.child
    long_lived: dict[int, Member] = {}
    stop_at_s: float | None = None
    look_at_s = time.monotonic()
    while True:
        ready, _, _ = select.select([sys.stdin.fileno(), wake_reader], [], [], TICK_S)
        if wake_reader in ready:
            os.read(wake_reader, 4096)
        if time.monotonic() >= look_at_s:
            engine.look_for_leftovers()
            look_at_s = time.monotonic() + LEFTOVERS_PERIOD_S
        if sys.stdin.fileno() in ready:
            if os.read(sys.stdin.fileno(), 1) != STOP:
                return engine.end(128 + signal.SIGKILL)
            if stop_at_s is None:
                engine.look_for_leftovers()
            stop_at_s = stop_at_s or time.monotonic() + STOP_GRACE_S
            child.terminate()
        _reap_orphans(child.pid)
        if child.poll() is not None:
            return engine.end(_exit_code(child.returncode))
        if stop_at_s is not None:
            if time.monotonic() >= stop_at_s:
                return engine.end(128 + signal.SIGKILL)
            continue
        lost = [member for member in long_lived.values() if not is_alive(member)]
        if lost and child.poll() is None:
            print(f"[reaper] {lost[0].title} (pid {lost[0].pid}) is gone: ending the engine", file=sys.stderr)
            return engine.end(LOST_MEMBER_EXIT)
        long_lived |= {m.pid: m for m in descendants(child.pid) if m.title.startswith(LONG_LIVED_TITLE)}


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
