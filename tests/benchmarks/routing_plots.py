"""The routing benchmark's plots."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from cluster.simulator.summary import interval
from tests.benchmarks.routing_report import OURS, knee_req_s, mean

SHOWN = ("baryon", "lmetric", "llm-d-3-2-2", "dynamo-kv", "vllm-router-cache-aware", "round-robin")
COLOURS = dict(zip(SHOWN, ("#1b6ca8", "#c96a1b", "#3b8c4a", "#8b5fa8", "#7a7a7a", "#b0b0b0"), strict=True))
FIGURES = (("ttft_mean_ms", "TTFT, ms"), ("e2e_mean_ms", "end to end, ms"), ("slo_attainment", "SLO attainment"))


def draw_all(document: dict[str, Any], folder: Path) -> None:
    mpl.rcParams["svg.hashsalt"] = "baryon"
    mpl.rcParams["svg.fonttype"] = "none"
    if "conversation" in document:
        draw_conversation(document["conversation"], folder / "routing_conversation.svg")
    if "stall_weight" in document:
        draw_stall_weight(document["stall_weight"], folder / "routing_stall_weight.svg")
    if "never_worse" in document:
        draw_never_worse(document["never_worse"], folder / "routing_never_worse.svg")
    if {"knee_conversation", "knee_shared_prefix"} <= document.keys():
        draw_knees(document, folder / "routing_knees.svg")


def draw_never_worse(cells: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """Each policy's mean TTFT and E2E ÷ the best policy's on that workload; ours is the blue one."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.4))
    for panel, (field, title) in zip(panels, FIGURES[:2], strict=True):
        for at, rows in enumerate(cells.values()):
            means = {policy: mean(rows, policy, field) for policy in sorted({row["policy"] for row in rows})}
            least = min(means.values())
            for policy, value in means.items():
                is_ours = policy == OURS
                panel.plot(
                    at, value / least, "D" if is_ours else "o", color=COLOURS[OURS] if is_ours else "#b0b0b0",
                    zorder=3 if is_ours else 2, markersize=6 if is_ours else 5,
                )  # fmt: skip
        panel.set_xticks(range(len(cells)), list(cells), rotation=20, fontsize=7)
        panel.set_yscale("log")
        panel.set_title(f"{title.removesuffix(', ms')} ÷ the best policy's", fontsize=9)
    _save(figure, out)


def draw_knees(document: dict[str, Any], out: Path) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.8))
    for panel, name in zip(panels, ("knee_conversation", "knee_shared_prefix"), strict=True):
        kept = {policy: knee_req_s(rows) for policy, rows in document[name].items() if policy != "idle"}
        ranked = sorted(kept, key=lambda policy: kept[policy])
        colours = [COLOURS[OURS] if policy == OURS else "#b0b0b0" for policy in ranked]
        panel.barh(ranked, [kept[policy] for policy in ranked], color=colours)
        panel.set_title(f"{name.removeprefix('knee_').replace('_', ' ')}: knee, req/s", fontsize=9)
        panel.tick_params(labelsize=7)
    _save(figure, out)


def draw_conversation(cells: dict[str, list[dict[str, Any]]], out: Path) -> None:
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.4))
    for panel, (field, title) in zip(panels, FIGURES, strict=True):
        for policy in SHOWN:
            points = [interval([row[field] for row in rows if row["policy"] == policy]) for rows in cells.values()]
            at = [float(speedup) for speedup in cells]
            middles, halves = [middle for middle, _ in points], [half for _, half in points]
            panel.errorbar(at, middles, halves, color=COLOURS[policy], label=policy, marker="o", markersize=3)
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("speed-up")
        if field != "slo_attainment":
            panel.set_yscale("log")
    panels[0].legend(fontsize=7)
    _save(figure, out)


def draw_stall_weight(cells: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """Every figure beside its value at the λ that is derived."""
    figure, panel = plt.subplots(figsize=(6, 3.4))
    at = [float(scale) for scale in cells]
    for (field, title), colour in zip(FIGURES, ("#1b6ca8", "#c96a1b", "#3b8c4a"), strict=True):
        points = {float(scale): interval([row[field] for row in rows]) for scale, rows in cells.items()}
        base = points[1.0][0]
        middles, halves = [points[x][0] / base for x in at], [points[x][1] / base for x in at]
        panel.errorbar(at, middles, halves, color=colour, label=title.removesuffix(", ms"), marker="o", markersize=3)
    panel.set_xscale("symlog", linthresh=0.25)
    panel.set(xlabel="λ ÷ the derived λ", ylabel="÷ its value there")
    panel.axvline(1, color="black", linewidth=0.6)
    panel.legend(fontsize=7)
    _save(figure, out)


def _save(figure: Any, out: Path) -> None:
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)
