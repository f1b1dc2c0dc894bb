"""How many tokens an answer will have, as far as the answers before it tell."""

import math

MEMORY = 50
PRIOR_TOKENS = 256.0
PRIOR_ANSWERS = 3
CAUTION = 0.25


class ExpectedOutput:
    """Of one tenant and model: the mean of late answers, and some of their spread on top of it."""

    def __init__(self) -> None:
        self._seen = PRIOR_ANSWERS
        self._mean = PRIOR_TOKENS
        self._square = 0.0

    def saw(self, tokens: int) -> None:
        self._seen += 1
        weight = 1 / min(self._seen, MEMORY)
        off = tokens - self._mean
        self._mean += weight * off
        self._square = (1 - weight) * (self._square + weight * off * off)

    def tokens(self, at_most: int | None) -> int:
        """`at_most`: what the request allows."""
        expected = round(self._mean + CAUTION * math.sqrt(self._square))
        return expected if at_most is None else min(expected, at_most)
