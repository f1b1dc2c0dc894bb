"""Which parts of a text to leave out in turn, and what each leaving out says: pure.

Occlusion: Zeiler, Fergus: Visualizing and Understanding Convolutional Networks (ECCV 2014, arXiv:1311.2901). For parts
of a text: Li, Monroe, Jurafsky: Understanding Neural Networks through Representation Erasure (2016, arXiv:1612.08220).
How much a part decides is how far the probabilities move without it: leave-one-out by total variation distance, Jain,
Wallace: Attention is not Explanation (NAACL 2019, arXiv:1902.10186, algorithm 1).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Unit = Literal["word", "sentence", "passage"]

MOST_SEGMENTS = 32
ENOUGH_SENTENCES = 3
ENDS: dict[Unit, re.Pattern[str]] = {
    "word": re.compile(r"(?<=\S)\s+(?=\S)"),
    "sentence": re.compile(r"(?<=[.!?…])[\"'»”’)\]]*\s+(?=\S)|(?<=[。！？])(?=\S)|(?<=\S)[^\S\n]*\n\s*(?=\S)"),
    "passage": re.compile(r"(?<=\S)[^\S\n]*\n[^\S\n]*\n\s*(?=\S)"),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """Characters of a text, from `begin` to before `end`, with the space that follows."""

    begin: int
    end: int

    def of(self, text: str) -> str:
        return text[self.begin : self.end]

    def without(self, text: str) -> str:
        return text[: self.begin] + text[self.end :]


def best_unit(text: str) -> Unit:
    """Sentences, if there are enough to tell apart."""
    return "sentence" if len(ENDS["sentence"].findall(text)) + 1 >= ENOUGH_SENTENCES else "word"


def segments(text: str, unit: Unit, at_most: int = MOST_SEGMENTS) -> tuple[Segment, ...]:
    """All of the text, cut after each unit; neighbours are merged if there would be more than `at_most`."""
    ends = [match.end() for match in ENDS[unit].finditer(text)]
    cuts = [0, *ends, len(text)]
    found = [Segment(begin, end) for begin, end in pairwise(cuts) if begin < end]
    return merged(found, at_most)


def merged(found: Sequence[Segment], at_most: int) -> tuple[Segment, ...]:
    """Runs of neighbours, of sizes that differ by one at most."""
    if len(found) <= at_most:
        return tuple(found)
    bounds = [number * len(found) // at_most for number in range(at_most + 1)]
    return tuple(Segment(found[begin].begin, found[end - 1].end) for begin, end in pairwise(bounds))


def shift(chances: Mapping[str, float], others: Mapping[str, float]) -> float:
    """How much probability goes to other labels: the total variation distance, 0 to 1."""
    return sum(abs(chance - others[label]) for label, chance in chances.items()) / 2


def ranked(weights: Sequence[float]) -> list[int]:
    """Indexes, the largest first."""
    return sorted(range(len(weights)), key=lambda index: -weights[index])
