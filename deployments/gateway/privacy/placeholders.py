"""What stands for a piece of personal data: `<EMAIL_1>`, the first address of the request, wherever it comes again.

By order, so that a conversation that goes on begins as it did and finds its beginning in the engines' caches.
"""

import re
from collections import Counter

from deployments.gateway.privacy.found import Found, Kind

MOST_DIGITS = 6
KINDS = "|".join(Kind)
PLACEHOLDER = re.compile(rf"<({KINDS})_[1-9][0-9]{{0,{MOST_DIGITS - 1}}}>")
BEGINNINGS = sorted({re.escape(kind[:length]) for kind in Kind for length in range(1, len(kind) + 1)}, reverse=True)
UNFINISHED = re.compile(rf"<(?:(?:{KINDS})_(?:[1-9][0-9]{{0,{MOST_DIGITS - 1}}})?|{'|'.join(BEGINNINGS)})?")
LONGEST = 2 + max(map(len, Kind)) + 1 + MOST_DIGITS


class Placeholders:
    """Of one request. `values`: what each stands for."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.counts: Counter[Kind] = Counter()
        self._of: dict[tuple[Kind, str], str] = {}

    def of(self, kind: Kind, value: str) -> str:
        """The same for the same, to the letter: what is restored is what was written."""
        placeholder = self._of.get((kind, value))
        if placeholder is None:
            self.counts[kind] += 1
            placeholder = self._of[kind, value] = f"<{kind}_{self.counts[kind]}>"
            self.values[placeholder] = value
        return placeholder


def literal_placeholders(text: str) -> list[Found]:
    """What looks like a placeholder and was written by the client."""
    if "<" not in text:
        return []
    return [Found(match.start(), match.end(), Kind(match[1])) for match in PLACEHOLDER.finditer(text)]
