"""All that state keeps, as one file: a zip of its SQLite files and a manifest with their digests.

Each file is copied by SQLite's own online backup, so state may write meanwhile; each copy is whole in itself, and they
are a moment apart. Keys are in it as hashes; the cluster's internal tokens are not, each cluster makes its own.
"""

import hashlib
import sqlite3
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import orjson

from deployments.audit_log import AuditLog
from deployments.revived_keys import RevivedKey, revived_keys
from deployments.sqlite_file import BESIDE, connect, set_aside

MANIFEST = "manifest.json"
FORMAT = "baryon-state"
VERSION = 1
STATE = "state"


class BackupError(Exception):
    """It cannot be made or restored; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Restored:
    """`kept`: where what was there before is now. `revived`: keys that were ended since; None if nobody can tell."""

    made_at_s: float
    files: tuple[Path, ...]
    kept: tuple[Path, ...]
    revived: tuple[RevivedKey, ...] | None = ()


def backup(state_path: Path) -> bytes:
    """Of the state file and the SQLite files beside it.

    Raises:
        BackupError: there are none, or one is damaged.
    """
    made = {_name_of(path, state_path): _copy(path) for path in _files(state_path)}
    if not made:
        raise BackupError(f"{state_path}: there is no state to back up")
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "made_at_s": time.time(),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in made.items()},
    }
    written = BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        for name, content in made.items():
            archive.writestr(name, content)
    return written.getvalue()


def restore(archive: bytes, state_path: Path, *, overwrite: bool, actor: str) -> Restored:
    """Put the files back, of a cluster that does not run. What is there is kept under another name. The audit log has
    that `actor` did it.

    Raises:
        BackupError: it is no backup, is damaged, or what is there has changed since it was made and `overwrite` is not
            set; then nothing has changed.
    """
    made_at_s, contents = _checked(archive)
    targets = {name: _path_of(name, state_path) for name in contents}
    there = [path for path in _files(state_path) if path.exists()]
    changed_at_s = max((_changed_at_s(path) for path in there), default=0.0)
    if changed_at_s > made_at_s and not overwrite:
        raise BackupError(
            f"{state_path.parent}: the state there was changed {_time(changed_at_s)}, after the backup was made"
            f" ({_time(made_at_s)}); --overwrite restores it all the same and keeps what is there under another name"
        )
    state_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    stamp = f".before-restore-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    kept = tuple(set_aside(path, stamp) for path in there)
    for name, path in targets.items():
        path.touch(mode=0o600)
        path.write_bytes(contents[name])
    revived = _revived(kept, there.index(state_path), state_path) if state_path in there else ()
    if state_path.is_file():
        _note(state_path, actor, made_at_s, revived)
    return Restored(made_at_s, tuple(targets.values()), kept, revived)


def _note(state_path: Path, actor: str, made_at_s: float, revived: Sequence[RevivedKey] | None) -> None:
    """What was audited since the backup is in the file that is kept."""
    ids = None if revived is None else [key.key_id for key in revived]
    with closing(connect(state_path)) as connection:
        AuditLog(connection).add(actor, "state.restore", f"as of {_time(made_at_s)}", {"good_again": ids})


def _revived(kept: Sequence[Path], state: int, state_path: Path) -> tuple[RevivedKey, ...] | None:
    if not state_path.is_file():
        return ()
    try:
        return revived_keys(kept[state], state_path)
    except sqlite3.Error:
        return None


def _files(state_path: Path) -> list[Path]:
    """The state file need not end in .sqlite; those beside it do."""
    beside = (path for path in state_path.parent.glob("*.sqlite") if path != state_path)
    return [path for path in (state_path, *sorted(beside)) if path.is_file()]


def _name_of(path: Path, state_path: Path) -> str:
    return STATE if path == state_path else path.name


def _path_of(name: str, state_path: Path) -> Path:
    return state_path if name == STATE else state_path.with_name(name)


def _copy(path: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        try:
            with (
                closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE")
            _check_integrity(copy, path.name)
        except sqlite3.Error as error:
            raise BackupError(f"{path}: {error}") from error
        return copy.read_bytes()


def _check_integrity(path: Path, name: str) -> None:
    """Raises:
    BackupError: SQLite finds a fault.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{name} is damaged: {error}") from error
    if found != "ok":
        raise BackupError(f"{name} is damaged: {found}")


def _checked(archive: bytes) -> tuple[float, Mapping[str, bytes]]:
    """When it was made, and its files by name."""
    try:
        with zipfile.ZipFile(BytesIO(archive)) as opened:
            manifest = orjson.loads(opened.read(MANIFEST))
            if manifest["format"] != FORMAT:
                raise KeyError(FORMAT)
            if manifest["version"] != VERSION:
                raise BackupError(f"a backup of version {manifest['version']}; this Baryon reads version {VERSION}")
            digests = dict(manifest["files"])
            made_at_s = float(manifest["made_at_s"])
            contents = {name: opened.read(name) for name in digests}
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError) as error:
        raise BackupError(f"it is no backup of Baryon's state, or it is damaged: {error}") from error
    for name, content in contents.items():
        if Path(name).name != name or name in ("", ".", ".."):
            raise BackupError(f"it names a file outside the folder of the state: {name}")
        if hashlib.sha256(content).hexdigest() != digests[name]:
            raise BackupError(f"{name} in it is damaged: its digest is another")
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            copy.write_bytes(content)
            _check_integrity(copy, name)
    return made_at_s, contents


def _changed_at_s(path: Path) -> float:
    beside = [path.with_name(path.name + suffix) for suffix in BESIDE[:1]]
    return max(each.stat().st_mtime for each in (path, *beside) if each.exists())


def _time(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))
