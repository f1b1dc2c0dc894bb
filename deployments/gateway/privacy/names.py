"""Names of people: found by a model elsewhere, and then wherever they stand in the request from there on."""

import re
from collections.abc import Iterable

from deployments.gateway.privacy.found import Found, Kind


class KnownNames:
    """Of one request: a name that was found once is one in all texts that follow."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, names: Iterable[str]) -> None:
        before = len(self._names)
        self._names.update(names)
        if len(self._names) > before:
            longest_first = sorted(self._names, key=len, reverse=True)
            self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")

    def find(self, text: str) -> list[Found]:
        if self._pattern is None:
            return []
        return [Found(match.start(), match.end(), Kind.NAME) for match in self._pattern.finditer(text)]
