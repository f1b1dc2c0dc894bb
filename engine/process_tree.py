"""Which processes descend from one, and how to end them all. Standard library only: the reaper runs on it."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

KILL_ROUND_S = 0.05


@dataclass(frozen=True, slots=True)
class Member:
    """A process, named by pid and start time (clock ticks since boot), so that a recycled pid is never mistaken."""

    pid: int
    start_ticks: int
    title: str
    is_zombie: bool = False


def read_member(pid: int) -> Member | None:
    """The process with this pid, or None if it is gone. `title` is what `ps` shows, or the name of a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    name, _, rest = stat.partition(b" (")[2].rpartition(b") ")
    fields = rest.split()
    words = title.replace(b"\0", b" ").strip() or name
    return Member(pid, int(fields[19]), words.decode(errors="replace"), fields[0] in (b"Z", b"X"))


def is_alive(member: Member) -> bool:
    """Whether this very process still runs; a zombie does not."""
    now = read_member(member.pid)
    return now is not None and now.start_ticks == member.start_ticks and not now.is_zombie


def descendants(pid: int) -> list[Member]:
    """Every process below `pid`, parents before children; zombies included."""
    found: list[Member] = []
    pending = list(_children(pid))
    while pending:
        child = pending.pop(0)
        member = read_member(child)
        if member is not None:
            found.append(member)
            pending.extend(_children(child))
    return found


def _children(pid: int) -> Iterator[int]:
    """proc(5): a child can be missed while a sibling ends, so whoever must not miss one looks again."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                yield from map(int, (task / "children").read_text().split())


def send_signal(member: Member, number: signal.Signals) -> None:
    """Signal exactly this process. One that is gone, or whose pid now belongs to another, is left alone."""
    if is_alive(member):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(member.pid, number)


def kill_group(leader: Member) -> None:
    """SIGKILL the process group that this process leads or led, in one step, which nobody escapes by forking.

    As long as somebody is in the group, the kernel gives its number to no other process.
    """
    now = read_member(leader.pid)
    if now is None or now.start_ticks == leader.start_ticks:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, signal.SIGKILL)


def kill_all(members: Iterable[Member], deadline_s: float = 5.0) -> list[Member]:
    """SIGKILL these, their process groups and whatever descends from them until none is left.

    Returns those still alive at the deadline. Only groups that one of them leads are killed.
    """
    known = {(member.pid, member.start_ticks): member for member in members}
    end_s = time.monotonic() + deadline_s
    while True:
        for member in list(known.values()):
            for child in descendants(member.pid) if is_alive(member) else ():
                known.setdefault((child.pid, child.start_ticks), child)
        for member in known.values():
            kill_group(member)
        alive = [member for member in known.values() if is_alive(member)]
        if not alive or time.monotonic() >= end_s:
            return alive
        for member in alive:
            send_signal(member, signal.SIGKILL)
        time.sleep(KILL_ROUND_S)
