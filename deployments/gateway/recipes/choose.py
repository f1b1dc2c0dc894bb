"""Which label a model would write, by its own probabilities: the labels as a trie of tokens, read where they part."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]

END = -1


@dataclass(frozen=True, slots=True)
class Point:
    """After `prefix` of an answer, labels go on with different `tokens`."""

    prefix: Tokens
    tokens: Tokens


def with_ends(spelled: Mapping[str, Tokens]) -> dict[str, Tokens]:
    """A label that others begin with has one way more than they: to go on like none of them (`END`)."""
    return {
        label: (*tokens, END)
        if any(other != label and longer[: len(tokens)] == tokens for other, longer in spelled.items())
        else tokens
        for label, tokens in spelled.items()
    }


def points(spelled: Mapping[str, Tokens]) -> tuple[Point, ...]:
    """Where labels part, in the order of their depth; the same for any order of the labels.

    Where all go on alike there is nothing to read. No label may be the beginning of another: see `with_ends`.
    """
    found: dict[Tokens, set[int]] = {}
    for tokens in spelled.values():
        for depth, token in enumerate(tokens):
            found.setdefault(tokens[:depth], set()).add(token)
    parting = sorted((prefix for prefix, after in found.items() if len(after) > 1), key=lambda p: (len(p), p))
    return tuple(Point(prefix, tuple(sorted(found[prefix] - {END}))) for prefix in parting)


def probabilities(spelled: Mapping[str, Tokens], read: Mapping[Tokens, Mapping[int, float]]) -> dict[str, float]:
    """Of each label, with the sum 1: at each point, how likely each way on is among those that lead to a label. Where a
    label ends, whatever goes on like no other label is an answer with it.

    `read`: after each point's prefix, the log-probability of each of its tokens.
    """
    ending = {tokens[:-1] for tokens in spelled.values() if tokens[-1] == END}
    shares = {prefix: with_rest(told) if prefix in ending else softmax(told) for prefix, told in read.items()}
    weights = {label: math.prod(_ways(tokens, shares)) for label, tokens in spelled.items()}
    return normalised(weights)


def with_rest(log_probs: Mapping[int, float]) -> dict[int, float]:
    """The probabilities themselves, and of the `END` what is left to 1."""
    chances = {token: math.exp(min(0.0, value)) for token, value in log_probs.items()}
    rest = max(0.0, 1.0 - math.fsum(chances.values()))
    total = math.fsum(chances.values()) + rest
    return {token: chance / total for token, chance in {**chances, END: rest}.items()}


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
