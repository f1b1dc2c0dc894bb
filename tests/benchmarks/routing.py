"""Every routing policy on every workload: `python -m tests.benchmarks.routing --traces FOLDER [--only SECTION]`.

Writes docs/benchmarks/routing.json (a row per policy, seed and cell), routing.md and the plots. A section that is not
asked for keeps the rows that it had.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cluster.simulator.parallel import rows_of
from cluster.simulator.policies.baryon import Baryon
from cluster.simulator.policies.catalogue import POLICIES
from cluster.simulator.runs import Run, row_of
from cluster.simulator.scenarios import SCENARIOS, SHARED_PREFIX, Scenario
from cluster.simulator.simulation import Fleet, PolicyFactory
from cluster.simulator.trace import Trace, open_trace
from engine.simulated.profiles import get_profile
from tests.benchmarks.routing_plots import draw_all
from tests.benchmarks.routing_report import report

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
PROFILE, REPLICAS = "llama-3.1-70b-h100-tp4", 8
SPEEDUPS = (0.25, 1.0, 1.5, 1.75, 2.0)
GATEWAYS = (1, 2, 4)
STALL_WEIGHT_SCALES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
KNEE_LEVEL = 0.95
IDLE_SPEEDUP = 0.05
KNEE_STEP = 1.03
STRETCH_S = 1_800.0
SEEDS, QUICK_SEEDS = 5, 2
FLEET = Fleet(get_profile(PROFILE), REPLICAS)
Cells = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all sections need."""

    conversation: Trace
    seeds: range
    tell: Callable[[str], None]

    def cell(
        self,
        workload: Trace | Scenario,
        policies: dict[str, PolicyFactory],
        speedup: float = 1.0,
        fleet: Fleet = FLEET,
        seconds: float = STRETCH_S,
    ) -> list[dict[str, Any]]:
        """A row for each policy and seed."""
        runs = [
            Run(name, factory, workload, fleet, seed, speedup, seconds)
            for name, factory in policies.items()
            for seed in self.seeds
        ]
        return [asdict(row) for row in rows_of(row_of, runs)]


def conversation(bench: Bench) -> Cells:
    """The first half hour of Mooncake's conversation trace, faster and faster."""
    return {f"{speedup}": bench.cell(bench.conversation, POLICIES, speedup) for speedup in SPEEDUPS}


def never_worse(bench: Bench) -> Cells:
    """Workloads where the cache cannot help, or where helping it hurts."""
    names = [name for name in SCENARIOS if name != SHARED_PREFIX.name]
    return {name: bench.cell(SCENARIOS[name], POLICIES, seconds=SCENARIOS[name].seconds / 2) for name in names}


def gateways(bench: Bench) -> Cells:
    """Several gateways that hear of each other 25 ms late."""
    ours = {"baryon": POLICIES["baryon"]}
    return {
        f"{count}": bench.cell(bench.conversation, ours, 1.75, replace(FLEET, gateways=count)) for count in GATEWAYS
    }


def stall_weight(bench: Bench) -> Cells:
    """λ as it is derived, and fractions and multiples of it."""
    return {
        f"{scale}": bench.cell(bench.conversation, {"baryon": partial(Baryon, stall_weight_scale=scale)}, 1.5)
        for scale in STALL_WEIGHT_SCALES
    }


def knee_conversation(bench: Bench) -> Cells:
    """The fastest that each policy takes the conversation trace with the SLO met by 95 % of those who can.

    Some prompts are so long that an idle replica takes more than the SLO for them: no rate has 95 % of all.
    """
    idle = bench.cell(bench.conversation, {"baryon": POLICIES["baryon"]}, IDLE_SPEEDUP)
    most = sum(row["slo_attainment"] for row in idle) / len(idle)
    bench.tell(f"  idle: {most:.4f}")
    return {**_knees(bench, bench.conversation, STRETCH_S, KNEE_LEVEL * most, low=0.2, high=2.2), "idle": idle}


def knee_shared_prefix(bench: Bench) -> Cells:
    """The same of 150 groups that share 6,000 tokens."""
    return _knees(bench, SHARED_PREFIX, SHARED_PREFIX.seconds, KNEE_LEVEL, low=0.3, high=8.0)


def _knees(bench: Bench, workload: Trace | Scenario, seconds: float, level: float, low: float, high: float) -> Cells:
    found: Cells = {}
    for name, factory in POLICIES.items():
        found[name] = _knee(partial(_at, bench, workload, {name: factory}, seconds), level, low, high)
        best = max((row for row in found[name] if row["kept"]), key=lambda row: row["rate_req_s"], default=None)
        bench.tell(f"  {name}: {best['rate_req_s'] if best else 0:.2f} req/s")
    return found


def _at(
    bench: Bench, workload: Trace | Scenario, policy: dict[str, PolicyFactory], seconds: float, speedup: float
) -> list[dict[str, Any]]:
    return bench.cell(workload, policy, speedup, seconds=seconds)


def _knee(
    measure: Callable[[float], list[dict[str, Any]]], level: float, low: float, high: float
) -> list[dict[str, Any]]:
    """By bisection, until the bounds are within 3 %. Every row says its speed-up and whether the cell kept the SLO."""
    rows: list[dict[str, Any]] = []
    while high / low > KNEE_STEP:
        speedup = (low * high) ** 0.5
        cell = measure(speedup)
        kept = sum(row["slo_attainment"] for row in cell) / len(cell) >= level
        rows += [{**row, "speedup": speedup, "kept": kept} for row in cell]
        low, high = (speedup, high) if kept else (low, speedup)
    return rows


SECTIONS: dict[str, Callable[[Bench], Cells]] = {
    section.__name__: section
    for section in (conversation, never_worse, gateways, stall_weight, knee_conversation, knee_shared_prefix)
}


def run(traces: Path, sections: Sequence[str], seeds: int, out: Path) -> None:
    document = json.loads(out.read_text()) if out.exists() else {}
    bench = Bench(open_trace(traces / "mooncake_conversation.jsonl"), range(seeds), partial(print, flush=True))
    for name in sections:
        started_s = time.monotonic()
        bench.tell(name)
        document[name] = SECTIONS[name](bench)
        bench.tell(f"  {time.monotonic() - started_s:.0f} s")
        out.write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="two seeds")
    parser.add_argument("--only", choices=SECTIONS, action="append")
    parser.add_argument("--out", type=Path, default=FOLDER / "routing.json")
    arguments = parser.parse_args()
    run(arguments.traces, arguments.only or list(SECTIONS), QUICK_SEEDS if arguments.quick else SEEDS, arguments.out)
    document = json.loads(arguments.out.read_text())
    arguments.out.with_suffix(".md").write_text(report(document))
    draw_all(document, arguments.out.parent)


if __name__ == "__main__":
    main()
