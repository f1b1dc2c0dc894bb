"""Long texts in stretches: a regular expression that looks through a megabyte lets no other thread run meanwhile."""

import re
from collections.abc import Iterator

from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.found import Found

STRETCH_CHARACTERS = 16_384
BETWEEN_WORDS = re.compile(r"[a-z]{2}[.,;:!?]?\s+(?=[A-Za-z][a-z])")


def found_in(detector: Detector, text: str, at_least: int = STRETCH_CHARACTERS) -> list[Found]:
    """What the detector finds. Stretches have `at_least` so many characters, and are cut where only words are."""
    if len(text) <= at_least:
        return detector.find(text)
    found = []
    for begin, end in stretches(text, at_least):
        part = detector.find(text[begin:end])
        found += [one._replace(begin=one.begin + begin, end=one.end + begin) for one in part]
    return found


def stretches(text: str, at_least: int) -> Iterator[tuple[int, int]]:
    """All of the text, one after another. Where no words are, one is as long as it has to be."""
    begin = 0
    while begin < len(text):
        cut = BETWEEN_WORDS.search(text, begin + at_least)
        end = cut.end() if cut is not None else len(text)
        yield begin, end
        begin = end
