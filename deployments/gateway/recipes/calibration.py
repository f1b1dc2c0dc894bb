"""Contextual calibration: what a model answers when it is told nothing is its habit, and is divided out.

Zhao, Wallace, Feng, Klein, Singh: Calibrate Before Use (ICML 2021, arXiv:2102.09690): W is the inverse of the
probabilities for a content-free input, averaged over several, and b is 0. The result is made to sum to 1 again. Their
"N/A" is left out: it is a text by itself, and a neutral one (docs/choose.md has the numbers).
"""

import math
from collections.abc import Mapping, Sequence

from deployments.gateway.recipes.choose import normalised

CONTENT_FREE = ("", "[MASK]")
LEAST_HABIT = 1e-6


def habit(blank: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of the label probabilities for inputs without content."""
    return {label: math.fsum(chances[label] for chances in blank) / len(blank) for label in blank[0]}


def calibrated(chances: Mapping[str, float], habits: Mapping[str, float]) -> dict[str, float]:
    """Sum 1. A label that the model hardly ever answers of itself is raised a millionfold at most."""
    return normalised({label: chance / max(LEAST_HABIT, habits[label]) for label, chance in chances.items()})
