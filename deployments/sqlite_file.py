"""SQLite files of the state deployment: how each is opened, written whole or not at all, told apart, and set aside."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BESIDE = ("-wal", "-shm")


def connect(path: Path, synchronous: Literal["NORMAL", "FULL"] = "NORMAL") -> sqlite3.Connection:
    """For its one writer, in a folder and file that only its owner reads. With `NORMAL` a kill of the process loses
    nothing that was committed, a power cut the last commits; with `FULL` neither does.

    Raises:
        sqlite3.DatabaseError: the file is not a database, is corrupt, or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that is written within it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def set_aside(path: Path, suffix: str) -> Path:
    """Under another name, with its write-ahead log, which belongs to it by name."""
    aside = path.with_name(path.name + suffix)
    for beside in BESIDE:
        log = path.with_name(path.name + beside)
        if log.exists():
            log.rename(aside.with_name(aside.name + beside))
    return path.rename(aside)


@dataclass(frozen=True, slots=True)
class FileKind:
    """A file for one thing, which others may read: `name` is what messages call it, `error` what it raises."""

    name: str
    application_id: int
    version: int
    schema: str
    error: type[Exception]

    def create(self, path: Path) -> sqlite3.Connection:
        """Open it for its writer; a new one is made.

        Raises:
            self.error: the file is something else, is corrupt, or cannot be written.
        """
        with self.named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(sqlite3.connect(path)) as looked_at:
                self._check(looked_at, path, may_be_new=True)
            connection = connect(path)
            connection.executescript(self.schema)
            connection.execute(f"PRAGMA application_id={self.application_id}")
            connection.execute(f"PRAGMA user_version={self.version}")
            return connection

    @contextmanager
    def reading(self, path: Path) -> Iterator[sqlite3.Connection]:
        """Of one that nobody, or another process, has open.

        Raises:
            self.error: there is no such file, it is something else, or a row is damaged.
        """
        if not path.is_file():
            raise self.error(f"{path}: there is no such file")
        with (
            self.named_errors(path),
            closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            ) as connection,
        ):
            self._check(connection, path, may_be_new=False)
            yield connection

    @contextmanager
    def named_errors(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            raise self.error(f"{path}: {error}") from error

    def _check(self, connection: sqlite3.Connection, path: Path, *, may_be_new: bool) -> None:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if may_be_new and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
            return
        if application_id != self.application_id:
            raise self.error(f"{path}: an SQLite file, but no {self.name}")
        if version != self.version:
            raise self.error(f"{path}: a {self.name} of version {version}; this Baryon reads version {self.version}")
