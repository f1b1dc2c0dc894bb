"""`python -m tests.benchmarks.plot`: draws docs/benchmarks/*.json next to themselves, as SVG."""

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
PAIRS = {"gateway": "direct", "vllm-router": "engine", "ray-serve-llm": "engine"}
COLOURS = {"gateway": "#1b6ca8", "vllm-router": "#c96a1b", "ray-serve-llm": "#7a7a7a"}


def draw_overhead(document: dict[str, Any], out: Path) -> None:
    """Left: each round's throughput ratio and the median. Right: added time to first token of single streams."""
    paths = [path for path in PAIRS if path in document["single_ttft_ms"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    for at, path in enumerate(paths):
        ratios = ratios_of(document, path)
        left.plot([at] * len(ratios), ratios, "o", color=COLOURS[path], alpha=0.45)
        left.plot([at - 0.25, at + 0.25], [statistics.median(ratios)] * 2, color=COLOURS[path], linewidth=3)
        reference_ms = statistics.median(document["single_ttft_ms"][PAIRS[path]])
        added_ms = [value - reference_ms for value in document["single_ttft_ms"][path]]
        right.boxplot(added_ms, positions=[at], widths=0.5, whis=(5, 95), showfliers=False, orientation="vertical")
    left.axhline(1, color="black", linewidth=0.7)
    left.set(title="output tokens/s ÷ the engine alone", ylim=(0, None))
    right.axhline(0, color="black", linewidth=0.7)
    right.set(title="added time to first token, ms (box: quartiles, whiskers: 5-95 %)")
    right.set_yscale("symlog", linthresh=5)
    for axes in (left, right):
        axes.set_xticks(range(len(paths)), paths)
        axes.title.set_fontsize(9)
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)


def ratios_of(document: dict[str, Any], path: str) -> list[float]:
    by_round = {(r["target"], r["round"]): r["output_tokens_per_s"] for r in document["rounds"]}
    numbers = sorted({number for target, number in by_round if target == path})
    return [by_round[path, number] / by_round[PAIRS[path], number] for number in numbers]


def main() -> None:
    mpl.rcParams["svg.hashsalt"] = "baryon"
    mpl.rcParams["svg.fonttype"] = "none"
    for name in ("overhead", "overhead_peers"):
        document = json.loads((FOLDER / f"{name}.json").read_text())
        draw_overhead(document, FOLDER / f"{name}.svg")


if __name__ == "__main__":
    main()
