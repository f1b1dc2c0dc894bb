"""One running engine: started behind a reaper, logged, watched, and ended as a tree."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from engine.failure import Failure, classify
from engine.launch import Command
from engine.line_log import LineLog
from engine.process_tree import Member, descendants, is_alive, kill_all, read_member
from engine.reaper import STOP

LAST_WORDS_TIMEOUT_S = 2.0
REAPER_PATIENCE_S = 3.0


class EngineProcess:
    """A supervised engine. Created and used on one event loop; the reaper sees to the rest if this process dies.

    `ended` is set once no process of the tree is left.
    """

    def __init__(self, command: Command, log_path: Path, identity: str) -> None:
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-m", "engine.reaper", str(command.niceness), *command.argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **command.env},
            process_group=0,
        )
        assert self._process.stdout is not None
        self.log = LineLog(self._process.stdout, log_path, identity)  # type: ignore[arg-type]
        self._members: dict[int, Member] = {}
        self.members()
        threading.Thread(target=self._wait, name=f"reaper-{identity}", daemon=True).start()

    def members(self) -> list[Member]:
        """The engine's processes now, the reaper first; remembered, so that they can be killed should it die."""
        reaper = read_member(self._process.pid)
        if reaper is not None and not reaper.is_zombie:
            seen = {member.pid: member for member in (reaper, *descendants(reaper.pid))}
            if is_alive(reaper):
                self._members = seen
        return list(self._members.values())

    def failure(self) -> Failure:
        """Why the engine ended, from its exit code and last lines. Meaningful once `ended` is set."""
        code = self._process.returncode
        return classify(128 - code if code is not None and code < 0 else code, self.log.tail())

    async def stop(self) -> None:
        """Ask the engine to stop, and wait until nothing of it is left; the reaper kills what does not stop in time."""
        self._tell_reaper(STOP)
        await self.ended.wait()

    async def kill(self) -> None:
        """End the tree at once, by the reaper if it is able to."""
        self._hang_up()
        try:
            async with asyncio.timeout(REAPER_PATIENCE_S):
                await self.ended.wait()
        except TimeoutError:
            await asyncio.to_thread(self._kill_without_the_reaper)
            await self.ended.wait()

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _kill_without_the_reaper(self) -> None:
        kill_all(self.members())

    def _tell_reaper(self, message: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(message)
            self._process.stdin.flush()

    def _wait(self) -> None:
        self._process.wait()
        kill_all(self._members.values())
        self.log.wait_for_end(LAST_WORDS_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self.ended.set)
