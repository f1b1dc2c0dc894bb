"""An engine's output: into a bounded file with the replica's id on each line, and its last lines in memory."""

import contextlib
import threading
from collections import deque
from pathlib import Path
from typing import BinaryIO

TAIL_LINES = 400
LONGEST_LINE_BYTES = 16 * 1024
FILE_BYTES = 32 * 1024 * 1024


class LineLog:
    """Reads a pipe to its end on a thread of its own, so that the engine never waits for its log.

    A full disk loses lines, never the engine: what cannot be written is still read and kept in memory.
    The file is rotated once it passes `FILE_BYTES`; one older file is kept.
    """

    def __init__(self, pipe: BinaryIO, path: Path, identity: str) -> None:
        self._pipe = pipe
        self._path = path
        self._prefix = f"[{identity}] ".encode()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._thread = threading.Thread(target=self._read, name=f"log-{identity}", daemon=True)
        self._thread.start()

    def tail(self) -> list[str]:
        return list(self._tail)

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until the writer closed its end, so that `tail` has its last words."""
        self._thread.join(timeout_s)

    def _read(self) -> None:
        file: BinaryIO | None = None
        while line := self._pipe.readline(LONGEST_LINE_BYTES):
            self._tail.append(line.decode(errors="replace").rstrip("\r\n"))
            try:
                file = self._file_with_room(file)
                file.write(self._prefix + line.rstrip(b"\r\n") + b"\n")
            except OSError:
                file = None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _file_with_room(self, file: BinaryIO | None) -> BinaryIO:
        if file is not None and file.tell() >= FILE_BYTES:
            file.close()
            self._path.replace(self._path.with_suffix(".1.log"))
            file = None
        if file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("ab", buffering=0)
        return file
