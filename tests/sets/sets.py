"""The sentences in this folder, and how recipes ask about them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from deployments.gateway.recipes.calibration import CONTENT_FREE
from deployments.gateway.recipes.chooser import Question
from deployments.gateway.recipes.explain import Render
from deployments.gateway.recipes.shelf import shipped

FOLDER = Path(__file__).parent
POLAR = ("negative", "positive")
TENANT = "tests"
MOST_CHARS = 100_000
ASPECT = {"sentiment": "sentiment", "classify": "topic"}


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Planted:
    """A text of ten sentences, of which the one at `decisive` alone tells its `label`."""

    sentences: tuple[str, ...]
    decisive: int
    label: str

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def labelled(by_label: dict[str, list[str]]) -> list[Sentence]:
    return [Sentence(text, label) for label, texts in by_label.items() for text in texts]


def planted(name: str = "planted") -> Iterator[Planted]:
    """Each decisive sentence among nine plain ones of its subject, at each of the ten places in turn: 48, and 96 of
    "planted_fresh".
    """
    number = 0
    for subject in read(name).values():
        for label in POLAR:
            for decisive in subject[label]:
                others = Random(number).sample(subject["plain"], 9)
                at = number % 10
                yield Planted((*others[:at], decisive, *others[at:]), at, label)
                number += 1


def asking(recipe: str) -> Render:
    """The shipped recipe's prompt: `sentiment`, or `classify` by topic."""
    prompt = shipped()[recipe].prompt
    return lambda text: prompt.render({"text": text, "labels": None, "aspect": ASPECT[recipe]}, MOST_CHARS)


def question(render: Render, model: str, text: str, labels: tuple[str, ...]) -> Question:
    blanks = tuple(render(blank) for blank in CONTENT_FREE)
    return Question(TENANT, model, render(text), labels, blanks)
