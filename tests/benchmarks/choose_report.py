"""`python -m tests.benchmarks.choose_report`: what docs/choose.md shows of docs/benchmarks/choose.json."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from deployments.gateway.recipes.calibration import CONTENT_FREE, calibrated, habit
from deployments.gateway.recipes.choose import most_likely, normalised

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
BINS = 10
POWERS = (1.5, 2, 2.5)
WAYS = ("calibrated", "uncalibrated")
DRAWN = ("sentiment of three", "topic of five")
COLOURS = {"calibrated": "#1b6ca8", "uncalibrated": "#c96a1b"}


def label_in(answer: str, labels: Sequence[str]) -> str | None:
    """Which label an answer in words names first."""
    places = {label: answer.lower().find(label) for label in labels if label in answer.lower()}
    return min(places, key=places.__getitem__) if places else None


def accuracy(task: Mapping[str, Any], way: str) -> float:
    """`way`: one of WAYS, or of asking in words."""
    answers = task["answers"]
    if way in WAYS:
        return share_right(answers, way)
    return statistics.fmean(label_in(answer[way], task["labels"]) == answer["label"] for answer in answers)


def calibration_error(answers: Sequence[Mapping[str, Any]], way: str) -> float:
    """Expected calibration error (Naeini et al. 2015) of the chosen label, in ten bins of equal width."""
    return math.fsum(
        len(bin_) / len(answers) * abs(confidence(bin_, way) - share_right(bin_, way))
        for bin_ in binned(answers, way)
        if bin_
    )


def binned(answers: Sequence[Mapping[str, Any]], way: str) -> list[list[Mapping[str, Any]]]:
    bins: list[list[Mapping[str, Any]]] = [[] for _ in range(BINS)]
    for answer in answers:
        bins[min(BINS - 1, int(max(answer[way].values()) * BINS))].append(answer)
    return bins


def confidence(answers: Sequence[Mapping[str, Any]], way: str) -> float:
    return statistics.fmean(max(answer[way].values()) for answer in answers)


def share_right(answers: Sequence[Mapping[str, Any]], way: str) -> float:
    return statistics.fmean(most_likely(answer[way]) == answer["label"] for answer in answers)


def table(document: Mapping[str, Any]) -> str:
    rows = ["| | sentences | asked in words | uncalibrated | calibrated | ECE before | ECE after |"]
    rows.append("|---|---|---|---|---|---|---|")
    for name, task in document["tasks"].items():
        shares = [f"{100 * accuracy(task, way):.1f} %" for way in ("asked", "uncalibrated", "calibrated")]
        errors = [f"{calibration_error(task['answers'], way):.3f}" for way in ("uncalibrated", "calibrated")]
        rows.append(f"| {name} | {len(task['answers'])} | {' | '.join([*shares, *errors])} |")
    return "\n".join(rows)


def other_calibrations(task: Mapping[str, Any]) -> str:
    """Accuracy by the habit that each text without content shows alone, and by the paper's three."""
    nothing = task["nothing"]
    ways = {**{repr(text): [chances] for text, chances in nothing.items()}}
    ways["the paper's three"] = [nothing[text] for text in ("N/A", "[MASK]", "")]
    return ", ".join(f"{name} {100 * calibrated_by(task['answers'], blank):.1f} %" for name, blank in ways.items())


def calibrated_by(answers: Sequence[Mapping[str, Any]], blank: Sequence[Mapping[str, float]]) -> float:
    habits = habit(blank)
    return statistics.fmean(
        most_likely(calibrated(answer["uncalibrated"], habits)) == answer["label"] for answer in answers
    )


def other_ways(task: Mapping[str, Any]) -> str:
    """Accuracy and calibration error with the habit by a geometric mean, by the mean over the sentences themselves
    (batch calibration: Zhou et al. 2023, arXiv:2309.17249), which no single request could know, and sharpened.
    """
    raw = [answer["uncalibrated"] for answer in task["answers"]]
    blank = [task["nothing"][text] for text in CONTENT_FREE]
    ways = {
        "as it is": [calibrated(one, habit(blank)) for one in raw],
        "geometric mean": [calibrated(one, geometric(blank)) for one in raw],
        "batch": [calibrated(one, habit(raw)) for one in raw],
        "batch, geometric": [calibrated(one, geometric(raw)) for one in raw],
        **{f"to the power of {power}": [sharpened(one, habit(blank), power) for one in raw] for power in POWERS},
    }
    return "\n".join(
        f"  {name}: right {100 * share_right(told, 'told'):.1f} %, ECE {calibration_error(told, 'told'):.3f}"
        for name, chances in ways.items()
        for told in [[{"label": a["label"], "told": one} for a, one in zip(task["answers"], chances, strict=True)]]
    )


def geometric(blank: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {label: math.exp(statistics.fmean(math.log(chances[label]) for chances in blank)) for label in blank[0]}


def sharpened(chances: Mapping[str, float], habits: Mapping[str, float], power: float) -> dict[str, float]:
    return normalised({label: chance**power for label, chance in calibrated(chances, habits).items()})


def longer(answers: Sequence[Mapping[str, Any]]) -> str:
    ways = ("parting uncalibrated", "parting", "whole uncalibrated", "whole")
    return ", ".join(f"{way} {100 * share_right(answers, way):.1f} %" for way in ways)


def draw_confusion(axes: Axes, name: str, task: Mapping[str, Any]) -> None:
    labels = task["labels"]
    counts = Counter((answer["label"], most_likely(answer["calibrated"])) for answer in task["answers"])
    cells = [[counts[meant, chosen] for chosen in labels] for meant in labels]
    axes.imshow(cells, cmap="Blues", vmin=0)
    for row, line in enumerate(cells):
        for column, count in enumerate(line):
            axes.text(column, row, str(count), ha="center", va="center", color="white" if count > 20 else "black")
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(title=name, xlabel="chosen", ylabel="meant")


def draw_reliability(axes: Axes, name: str, task: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.7)
    for way in WAYS:
        full = [bin_ for bin_ in binned(task["answers"], way) if bin_]
        sizes = [8 + 1.5 * len(bin_) for bin_ in full]
        x, y = [confidence(bin_, way) for bin_ in full], [share_right(bin_, way) for bin_ in full]
        axes.plot(x, y, color=COLOURS[way], linewidth=1)
        axes.scatter(x, y, s=sizes, color=COLOURS[way], alpha=0.7, label=way)
    axes.set(title=name, xlabel="probability of the chosen label", ylabel="share that is right", xlim=(0, 1.02))
    axes.set_ylim(0, 1.04)
    axes.legend(loc="lower right", fontsize=8)


def main() -> None:
    mpl.rcParams["svg.hashsalt"] = "baryon"
    mpl.rcParams["svg.fonttype"] = "none"
    document = json.loads((FOLDER / "choose.json").read_text())
    for kind, draw in (("confusion", draw_confusion), ("reliability", draw_reliability)):
        figure, both = plt.subplots(1, len(DRAWN), figsize=(9, 3.9))
        for axes, name in zip(both, DRAWN, strict=True):
            draw(axes, name, document["tasks"][name])
            axes.title.set_fontsize(10)
        figure.tight_layout()
        figure.savefig(FOLDER / f"choose_{kind}.svg", metadata={"Date": None})
        plt.close(figure)
    print(table(document))
    for name, task in document["tasks"].items():
        print(f"{name}, calibrated by: {other_calibrations(task)}\n{other_ways(task)}")
    print("longer labels:", longer(document["longer labels"]))


if __name__ == "__main__":
    main()
