"""Where a process keeps its metrics so that they outlive it: files of its own that it maps into its memory.

prometheus-client's multiprocess mode. What is counted is in the kernel's hands at once: SIGKILL takes none of it.
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import prometheus_client.values

ALIVE = ".alive"
MIB = 2**20
ALLOCATED_BYTES = {
    "counter": 2 * MIB,
    "histogram": 20 * MIB,
    **dict.fromkeys(("gauge_livesum", "gauge_livemax", "gauge_livemostrecent"), MIB),
}


@dataclass(frozen=True, slots=True)
class ProcessFiles:
    """This process's, under a name that no other ever has. Its lock is held until the process ends, however it does."""

    folder: Path
    identity: str
    lock: BinaryIO


def write_to_files(folder: Path) -> ProcessFiles:
    """Every metric that this process makes from now on is kept in `folder`. Once in a process.

    Raises:
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = f"{os.getpid()}-{secrets.token_hex(6)}"
    unnamed = folder / f"{identity}.new"
    lock = unnamed.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(folder / f"{identity}{ALIVE}")
    for kind, size_bytes in ALLOCATED_BYTES.items():
        allocate(folder / f"{kind}_{identity}.db", size_bytes)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(lambda: identity)
    return ProcessFiles(folder, identity, lock)


def allocate(path: Path, size_bytes: int) -> None:
    """A write to a mapped page for which the disk has no room any more would end the process.

    Raises:
        OSError: the disk is full.
    """
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def is_alive(folder: Path, identity: str) -> bool:
    """Whether the process that writes under this name still runs: the kernel frees a lock with its holder."""
    try:
        with (folder / f"{identity}{ALIVE}").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
