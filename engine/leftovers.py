"""What an engine leaves in the file system when it is killed: temporary files, sockets, shared memory.

vLLM names these at random, and what it has no time to remove stays until the node restarts: for TP=2 on a CPU some
500 MB of address space in /dev/shm with every engine that is killed. Standard library only: the reaper runs on it.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SHARED_MEMORY = "/dev/shm/"  # noqa: S108
FOLDER_PREFIX = "bn-"


@dataclass(frozen=True, slots=True)
class Leftovers:
    """One engine's temporary folder, and the shared memory that its processes were seen to map.

    The folder's name is short: vLLM's sockets are in it, and a socket's path has at most 107 bytes (unix(7)).
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX)))
    shared_memory: set[Path] = field(default_factory=set)
    started_at_s: float = field(default_factory=time.time)

    def look(self, pids: Iterable[int]) -> set[Path]:
        """The shared memory these processes map that was not known before."""
        new = {path for pid in pids for path in mapped_shared_memory(pid)} - self.shared_memory
        self.shared_memory.update(new)
        return new

    def remove(self) -> None:
        """Once nobody runs any more. Shared memory that is another user's, or older than this engine, stays."""
        for path in self.shared_memory:
            with contextlib.suppress(OSError):
                found = path.stat()
                if found.st_uid == os.getuid() and found.st_ctime >= self.started_at_s:
                    path.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)


def mapped_shared_memory(pid: int) -> set[Path]:
    """Named shared memory in this process's address space (proc_pid_maps(5)); nothing if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_bytes().splitlines()
    except OSError:
        return set()
    names = (os.fsdecode(line.split(maxsplit=5)[-1]) for line in lines if SHARED_MEMORY.encode() in line)
    return {Path(name) for name in names if name.startswith(SHARED_MEMORY) and not name.endswith(" (deleted)")}
