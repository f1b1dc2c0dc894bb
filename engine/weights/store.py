"""Models on this machine's disk: each folder is whole or absent, whoever is killed while making it."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from engine.weights.bundled import BUNDLED
from engine.weights.errors import ModelStoreError
from engine.weights.fetch import fetch_bundled, fetch_hub
from engine.weights.folder import check_is_model, damage, sync, write_manifest
from engine.weights.progress import OnProgress, Progress
from engine.weights.source import Bundled, Hub, Local, Source

HEADROOM_BYTES = 200_000_000
LOCK_POLL_S = 1.0
UNFINISHED = ".unfinished"


def _silent(_: Progress) -> None:
    """Nobody asked."""


class ModelStore:
    """A folder of models. Any number of processes may use it at once: one downloads, the others wait for it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def materialise(self, source: Source, on_progress: OnProgress = _silent) -> Path:
        """The folder that holds this model, made first if need be.

        Raises:
            ModelStoreError: the model cannot be had, or there is no room for it.
        """
        if isinstance(source, Local):
            check_is_model(source.path)
            return source.path.resolve()
        folder = self.folder(source)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with self._only_one(folder, on_progress):
                if not self._is_whole(folder):
                    self._make(source, folder, on_progress)
        except OSError as error:
            raise ModelStoreError(f"could not write {folder}: {error.strerror or error}") from error
        return folder

    def folder(self, source: Bundled | Hub) -> Path:
        """Where this model lives, whether it is there or not."""
        if isinstance(source, Bundled):
            return self._root / "bundled" / source.name
        return self._root / "hub" / source.repository.replace("/", "--") / source.revision.replace("/", "--")

    def verify(self, source: Bundled | Hub) -> None:
        """Read every byte again and compare.

        Raises:
            ModelStoreError: a file differs from what was downloaded.
        """
        folder = self.folder(source)
        if what := damage(folder, deep=True):
            raise ModelStoreError(f"{folder} is damaged: {what}. Remove the folder and start again")

    def _is_whole(self, folder: Path) -> bool:
        if not folder.exists():
            return False
        if damage(folder, deep=False) is None:
            return True
        shutil.rmtree(folder)
        return False

    def _make(self, source: Bundled | Hub, folder: Path, on_progress: OnProgress) -> None:
        """A hub's download resumes in its folder. A bundled model starts afresh, in a folder that no child process of
        a killed predecessor still writes to."""
        attempt = unfinished = folder.with_name(folder.name + UNFINISHED)
        if isinstance(source, Bundled):
            shutil.rmtree(unfinished, ignore_errors=True)
            self._check_room(BUNDLED[source.name].disk_bytes)
            unfinished.mkdir(exist_ok=True)
            attempt = Path(tempfile.mkdtemp(dir=unfinished))
        out, scratch = attempt / "model", attempt / "scratch"
        for made in (out, scratch):
            made.mkdir(parents=True, exist_ok=True)
        try:
            if isinstance(source, Bundled):
                fetch_bundled(source, out, scratch, on_progress)
            else:
                fetch_hub(source, out, on_progress)
                shutil.rmtree(out / ".cache", ignore_errors=True)
            on_progress(Progress("verify", "checksums"))
            check_is_model(out)
            write_manifest(out)
        except (OSError, ModelStoreError) as error:
            if isinstance(error, OSError) or isinstance(source, Bundled):
                shutil.rmtree(unfinished, ignore_errors=True)
            raise
        out.rename(folder)
        sync(folder.parent)
        shutil.rmtree(unfinished, ignore_errors=True)

    def _check_room(self, needed_bytes: int) -> None:
        free_bytes = shutil.disk_usage(self._root).free
        if free_bytes < needed_bytes + HEADROOM_BYTES:
            raise ModelStoreError(
                f"{self._root} has {free_bytes / 1e9:.1f} GB free, and this model needs "
                f"{(needed_bytes + HEADROOM_BYTES) / 1e9:.1f} GB. Free some, or set BARYON_HOME to a larger disk"
            )

    @contextlib.contextmanager
    def _only_one(self, folder: Path, on_progress: OnProgress) -> Iterator[None]:
        """The kernel frees the lock of a killed process, so nobody waits for the dead."""
        path = folder.with_name(folder.name + ".lock")
        lock = FileLock(path)
        began_s = time.monotonic()
        while True:
            try:
                lock.acquire(timeout=LOCK_POLL_S)
                break
            except Timeout:
                note = f"process {_owner(path)} is fetching it; waited {time.monotonic() - began_s:.0f} s"
                on_progress(Progress("download", note))
        try:
            path.write_text(str(os.getpid()))
            yield
        finally:
            lock.release()


def _owner(lock: Path) -> str:
    try:
        return lock.read_text() or "?"
    except OSError:
        return "?"
