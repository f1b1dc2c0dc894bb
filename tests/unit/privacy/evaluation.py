"""How much of the personal data in the items is found, and how much of what is found is none."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.found import Kind
from tests.unit.privacy.items import Item


@dataclass
class Score:
    """`found`: items of this kind of which every character was taken for it. `hidden`: by whatever kind.

    `wrong`: what was taken for this kind in an item that has none.
    """

    items: int = 0
    found: int = 0
    hidden: int = 0
    wrong: int = 0

    @property
    def recall(self) -> float:
        return self.found / self.items

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.wrong) if self.found else 0.0

    def as_row(self) -> dict[str, Any]:
        counts = {"items": self.items, "found": self.found, "hidden": self.hidden, "wrong": self.wrong}
        return {**counts, "precision": round(self.precision, 4), "recall": round(self.recall, 4)}


@dataclass
class Evaluation:
    kinds: dict[Kind, Score] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    mistaken: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        return {
            "kinds": {kind: score.as_row() for kind, score in sorted(self.kinds.items())},
            "missed": dict(self.missed),
            "mistaken": dict(self.mistaken),
        }


def evaluated(detector: Detector, items: Iterable[Item]) -> Evaluation:
    told = Evaluation({kind: Score() for kind in Kind if kind is not Kind.NAME})
    for item in items:
        found = detector.find(item.text)
        inside = [one for one in found if item.kind and one.begin < item.end and one.end > item.begin]
        for one in found:
            if one not in inside or one.kind != item.kind:
                told.kinds[one.kind].wrong += 1
                told.mistaken[f"{item.form} as {one.kind}"] += 1
                told.examples[f"{item.form} as {one.kind}"] = item.text
        if item.kind is None:
            continue
        score = told.kinds[item.kind]
        score.items += 1
        score.hidden += any(one.begin <= item.begin and one.end >= item.end for one in inside)
        if any(one.kind == item.kind and one.begin <= item.begin and one.end >= item.end for one in inside):
            score.found += 1
        else:
            told.missed[item.form] += 1
            told.examples[f"missed {item.form}"] = item.text
    return told
