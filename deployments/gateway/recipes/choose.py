"""Which label a model would write, by its own probabilities: the labels as a trie of tokens, read where they part."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """After `prefix` of an answer, labels go on with different `tokens`."""

    prefix: Tokens
    tokens: Tokens


def needs_an_end(spelled: Mapping[str, Tokens]) -> bool:
    """Whether a label is the beginning of another, so that only the answer's end tells them apart."""
    return any(
        longer[: len(tokens)] == tokens
        for label, tokens in spelled.items()
        for other, longer in spelled.items()
        if other != label
    )


def with_ends(spelled: Mapping[str, Tokens], end: int) -> dict[str, Tokens]:
    """Each label that others begin with ends its answer: it has the token `end` too."""
    return {
        label: (*tokens, end)
        if any(other != label and longer[: len(tokens)] == tokens for other, longer in spelled.items())
        else tokens
        for label, tokens in spelled.items()
    }


def points(spelled: Mapping[str, Tokens]) -> tuple[Point, ...]:
    """Where labels part, in the order of their depth; the same for any order of the labels.

    Where all go on alike there is nothing to read. No label may be the beginning of another.
    """
    found: dict[Tokens, set[int]] = {}
    for tokens in spelled.values():
        for depth, token in enumerate(tokens):
            found.setdefault(tokens[:depth], set()).add(token)
    parting = sorted((prefix for prefix, after in found.items() if len(after) > 1), key=lambda p: (len(p), p))
    return tuple(Point(prefix, tuple(sorted(found[prefix]))) for prefix in parting)


def probabilities(spelled: Mapping[str, Tokens], read: Mapping[Tokens, Mapping[int, float]]) -> dict[str, float]:
    """Of each label, with the sum 1: at each point, how likely each way on is among those that lead to a label.

    `read`: after each point's prefix, the log-probability of each of its tokens.
    """
    shares = {prefix: softmax(log_probs) for prefix, log_probs in read.items()}
    weights = {label: math.prod(_ways(tokens, shares)) for label, tokens in spelled.items()}
    return normalised(weights)


def _ways(tokens: Tokens, shares: Mapping[Tokens, Mapping[int, float]]) -> Iterator[float]:
    for depth, token in enumerate(tokens):
        here = shares.get(tokens[:depth])
        if here is not None:
            yield here[token]


def softmax(log_probs: Mapping[int, float]) -> dict[int, float]:
    highest = max(log_probs.values())
    weights = {token: math.exp(value - highest) for token, value in log_probs.items()}
    total = math.fsum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """With the sum 1; all alike if all are zero."""
    total = math.fsum(weights.values())
    if not total > 0:
        return dict.fromkeys(weights, 1 / len(weights))
    return {label: weight / total for label, weight in weights.items()}


def most_likely(chances: Mapping[str, float]) -> str:
    """Of labels that are as likely, the first by name."""
    return max(sorted(chances), key=chances.__getitem__)


def shared_beginning(renderings: Sequence[Tokens]) -> int:
    """How many tokens all begin with."""
    alike = 0
    for column in zip(*renderings, strict=False):
        if len(set(column)) > 1:
            break
        alike += 1
    return alike
