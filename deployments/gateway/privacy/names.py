"""Names of people: found by a model elsewhere, and then wherever they stand in the request from there on."""

import re
from collections.abc import Iterable, Iterator

from deployments.gateway.privacy.found import Found, Kind

BEGINNING = re.compile(r"\w+|[^\w\s]")
AFTER_NO_WORD, BEFORE_NO_WORD = re.compile(r"(?<!\w)"), re.compile(r"(?!\w)")


class KnownNames:
    """Of one request: a name that was found once is one in all texts that follow. They are kept by their first word, so
    that a text takes no longer to look through for thousands of them.
    """

    def __init__(self) -> None:
        self._by_beginning: dict[str, set[str]] = {}

    def add(self, names: Iterable[str]) -> None:
        for name in names:
            if (first := BEGINNING.match(name)) is not None:
                self._by_beginning.setdefault(first[0], set()).add(name)

    def find(self, text: str) -> Iterator[Found]:
        """Whole words; the longest of those that begin alike."""
        end = 0
        for first in BEGINNING.finditer(text) if self._by_beginning else ():
            begin = first.start()
            if begin < end:
                continue
            known = self._by_beginning.get(first[0], ())
            ends = [begin + len(name) for name in known if text.startswith(name, begin)]
            whole = [at for at in ends if AFTER_NO_WORD.match(text, begin) and BEFORE_NO_WORD.match(text, at)]
            if whole:
                end = max(whole)
                yield Found(begin, end, Kind.NAME)
