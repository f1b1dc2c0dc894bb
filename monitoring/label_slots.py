"""How many different values a label may get on one node, whatever comes: the rest is `other`."""

import contextlib
import fcntl
import json
from pathlib import Path

OTHER = "other"


class LabelSlots:
    """Who comes first has a value of his own, in all processes of the node that share `path` and for as long as it is
    there: a series that has begun is never taken over by `other`.
    """

    def __init__(self, path: Path | None, most: int) -> None:
        """`path` None: this process alone."""
        self._path = path
        self._most = most
        self._taken: set[tuple[str, ...]] = set()

    def has(self, *values: str) -> bool:
        """Whether these may be labels together."""
        if values in self._taken:
            return True
        if len(self._taken) >= self._most:
            return False
        self._take(values)
        return values in self._taken

    def _take(self, values: tuple[str, ...]) -> None:
        if self._path is None:
            self._taken.add(values)
            return
        with contextlib.suppress(OSError), self._path.open("a+") as shared:
            fcntl.flock(shared, fcntl.LOCK_EX)
            shared.seek(0)
            self._taken = {taken for line in shared if (taken := _read(line)) is not None}
            if values not in self._taken and len(self._taken) < self._most:
                shared.write(json.dumps(values) + "\n")
                shared.flush()
                self._taken.add(values)


def _read(line: str) -> tuple[str, ...] | None:
    """None for what a full disk has cut off."""
    try:
        return tuple(json.loads(line))
    except json.JSONDecodeError:
        return None
