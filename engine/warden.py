"""Ends an engine whose supervisor and reaper both died: a process that neither of them is an ancestor of."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from engine.leftovers import Leftovers

DISMISSED = b"."
PATIENCE_S = 5.0
LOOK_AGAIN_S = 0.05


class Warden:
    """The reaper's end of a pipe. Should it end before `dismiss`, the group is killed and the leftovers are removed.

    Forked twice, and to be made before this process adopts orphans, so that the warden is nobody's child here.
    """

    def __init__(self, leftovers: Leftovers) -> None:
        reader, self._writer = os.pipe()
        between = os.fork()
        if between == 0:
            if os.fork() == 0:
                os.close(self._writer)
                _be_the_warden(reader, leftovers)
            os._exit(0)
        os.waitpid(between, 0)
        os.close(reader)

    def guard(self, group: int) -> None:
        self._tell(b"%d" % group)

    def remember(self, shared_memory: Iterable[Path]) -> None:
        for path in shared_memory:
            self._tell(os.fsencode(path))

    def dismiss(self) -> None:
        self._tell(DISMISSED)

    def _tell(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writer, line + b"\n")


def _be_the_warden(reader: int, leftovers: Leftovers) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    told = b""
    while news := os.read(reader, 4096):
        told += news
    lines = told.splitlines()
    if DISMISSED not in lines:
        _kill_and_wait(int(lines[0]) if lines else None)
        leftovers.shared_memory.update(Path(os.fsdecode(line)) for line in lines[1:])
        leftovers.remove()
    os._exit(0)


def _kill_and_wait(group: int | None) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while group is not None and time.monotonic() < end_s:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(LOOK_AGAIN_S)
