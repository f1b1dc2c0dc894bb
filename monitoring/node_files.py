"""What the processes of one node have counted, those included that are gone: their files, read and merged.

A counter of the sum never goes backwards: what a dead process counted stays, in an archive that takes the place of its
files. Its gauges go.
"""

import fcntl
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from monitoring.latency_families import classic
from monitoring.process_files import ALIVE, allocate, is_alive

logger = logging.getLogger(__name__)

MANIFEST = "archive.json"
ARCHIVE_GROWS_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which archive counts, and whose files it has taken in, which count no more."""

    number: int = 0
    absorbed: frozenset[str] = frozenset()

    @property
    def identity(self) -> str:
        return f"archive-{self.number}"


class NodeFiles:
    """A collector for a prometheus-client registry."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def collect(self) -> Iterable[Metric]:
        """Histograms with their classic bounds."""
        return map(classic, self.in_cells())

    def in_cells(self) -> Iterable[Metric]:
        """Histograms with all bounds by which they are kept, of which native buckets are made (`with_native`)."""
        try:
            self._archive_the_dead()
        except OSError as error:
            logger.warning("files of processes that are gone stay as they are: %s", error)
        manifest = self._manifest()
        files = [path for path in self._files() if _counts(path, manifest)]
        merged: Iterable[Metric] = MultiProcessCollector.merge([str(path) for path in files])
        return merged

    def has_writers(self) -> bool:
        """Whether a process that writes here still runs."""
        return any(is_alive(self._folder, path.stem) for path in self._folder.glob(f"*{ALIVE}"))

    def _files(self) -> list[Path]:
        """Without those that a process has only just made, or was killed while it did: nothing is in them yet."""
        return sorted(path for path in self._folder.glob("*.db") if _has_begun(path))

    def _manifest(self) -> Manifest:
        try:
            told = json.loads((self._folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            return Manifest()
        return Manifest(told["number"], frozenset(told["absorbed"]))

    def _archive_the_dead(self) -> None:
        """The manifest changes in one step, so whatever is cut off here counts everything once."""
        with (self._folder / "archive.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            manifest, files = self._manifest(), self._files()
            dead = {
                name for path in files if not _is_archive(name := _identity(path)) and not is_alive(self._folder, name)
            }
            if not dead:
                return
            counted = [
                path for path in files if _identity(path) in dead | {manifest.identity} and _counts(path, manifest)
            ]
            following = Manifest(manifest.number + 1, frozenset(dead))
            self._write_archive([path for path in counted if not path.name.startswith("gauge_")], following.identity)
            self._replace_manifest(following)
            for path in files:
                if not _counts(path, following):
                    path.unlink(missing_ok=True)
            for name in dead:
                (self._folder / f"{name}{ALIVE}").unlink(missing_ok=True)

    def _write_archive(self, files: list[Path], identity: str) -> None:
        for kind in ("counter", "histogram"):
            path = self._folder / f"{kind}_{identity}.db"
            merged = [file for file in files if file.name.startswith(f"{kind}_")]
            allocate(path, sum(map(_used_bytes, merged)) + ARCHIVE_GROWS_BYTES)
            archive = MmapedDict(str(path))
            for key, value in _sums(merged):
                archive.write_value(key, value, 0.0)
            archive.close()

    def _replace_manifest(self, manifest: Manifest) -> None:
        new = self._folder / f"{MANIFEST}.new"
        new.write_text(json.dumps({"number": manifest.number, "absorbed": sorted(manifest.absorbed)}))
        os.replace(new, self._folder / MANIFEST)  # noqa: PTH105


def _sums(files: Iterable[Path]) -> Iterator[tuple[str, float]]:
    for metric in MultiProcessCollector.merge([str(file) for file in files], accumulate=False):
        for sample in metric.samples:
            names, values = list(sample.labels), list(sample.labels.values())
            yield mmap_key(metric.name, sample.name, names, values, metric.documentation), sample.value


def _used_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(4), sys.byteorder)


def _has_begun(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _identity(path: Path) -> str:
    return path.stem.rsplit("_", 1)[1]


def _is_archive(identity: str) -> bool:
    return identity.startswith("archive-")


def _counts(path: Path, manifest: Manifest) -> bool:
    identity = _identity(path)
    return identity == manifest.identity if _is_archive(identity) else identity not in manifest.absorbed
