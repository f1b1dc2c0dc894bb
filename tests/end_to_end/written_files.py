"""Every file that anybody wrote since a moment, and whether some words are in one."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK_BYTES = 16 * 1024 * 1024
LONGEST_WORD = 256


def written_since(at_s: float, roots: Iterable[Path]) -> Iterator[Path]:
    """Changed at or after `at_s` of the wall clock, links not followed."""
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder) / name
                try:
                    stat = path.lstat()
                except OSError:
                    continue
                if path.is_file() and not path.is_symlink() and max(stat.st_mtime, stat.st_ctime) >= at_s:
                    yield path


def places_to_write(*more: Path) -> list[Path]:
    """Where processes of this user keep things: its home, the system's temporary folder, shared memory, and `more`."""
    return [*more, Path.home(), Path(tempfile.gettempdir()), Path("/dev/shm")]


def words_in(path: Path, words: Iterable[str]) -> set[str]:
    """In any of the encodings that a log or a database may have them in."""
    wanted = {
        form: word for word in words for form in (word.encode(), word.encode("utf-16-le"), word.encode().hex().encode())
    }
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(CHUNK_BYTES):
                found |= {word for form, word in wanted.items() if form in tail + chunk}
                tail = chunk[-2 * LONGEST_WORD :]
    except OSError:
        return found
    return found
