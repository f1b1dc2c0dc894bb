"""A long text cut into pieces, where it hurts least."""

import re
from collections.abc import Iterator

BREAKS = (re.compile(r"\n\s*\n"), re.compile(r"[.!?…。！？]['\")\]]*\s|\n"), re.compile(r"\s"))
SHORTEST_SHARE = 0.5


def pieces(text: str, most_chars: int) -> Iterator[str]:
    """Of at most `most_chars` each; all of them together are the text. Cut after a paragraph, else a sentence, else a
    word, in the second half of what fits.
    """
    begin = 0
    while len(text) - begin > most_chars:
        end = cut(text, begin, begin + most_chars)
        yield text[begin:end]
        begin = end
    if begin < len(text):
        yield text[begin:]


def cut(text: str, begin: int, most: int) -> int:
    earliest = begin + int((most - begin) * SHORTEST_SHARE)
    for pattern in BREAKS:
        last = None
        for last in pattern.finditer(text, earliest, most):  # noqa: B007
            pass
        if last is not None and last.end() > begin:
            return last.end()
    return most
