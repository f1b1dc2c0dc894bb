"""Tells how much of a download is on the disk, whoever writes it: pip and the hub's client say nothing to programs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.weights.progress import OnProgress, Progress

LOOK_PERIOD_S = 1.0


@contextmanager
def watched(folder: Path, what: str, total_bytes: int | None, on_progress: OnProgress) -> Iterator[None]:
    """Report the download of `what` once a second, as the bytes below `folder`, until the block ends."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_PERIOD_S):
            done = size_bytes(folder)
            of = f" of {total_bytes / 1e6:.0f}" if total_bytes else ""
            on_progress(Progress("download", f"{what}: {done / 1e6:.0f}{of} MB", done, total_bytes))

    on_progress(Progress("download", what, 0, total_bytes))
    watcher = threading.Thread(target=look, name="download-growth", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def size_bytes(folder: Path) -> int:
    """Files that come and go meanwhile are left out."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
