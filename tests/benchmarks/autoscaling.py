"""Autoscaling policies on every protocol, a step and the traces that are there.

`python -m tests.benchmarks.autoscaling --protocols FOLDER [--traces FOLDER] [--only NAME]… [--policy NAME]…` writes
docs/benchmarks/autoscaling.json, after every run (a row per workload, policy and seed), autoscaling.md and a plot of
SLO attainment against GPU-hours. What is not asked for keeps the rows that it had.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.simulator.scaling.catalogue import RAY_TARGETS, SCALERS
from cluster.simulator.scaling.protocol import load_protocol
from cluster.simulator.scaling.runs import Run, row_of
from cluster.simulator.scaling.workload import Workload
from tests.benchmarks.autoscaling_report import FOLDER, Document, Rows, best_ray_target, draw, report, table
from tests.benchmarks.autoscaling_workloads import AZURE_SWEPT, Named, of_traces, step

RAY = "ray-serve"
POLICIES = [name for name in SCALERS if not name.startswith(RAY)] + [RAY]


def workloads(protocols: Path, traces: Path | None, made: Path) -> Iterator[Named]:
    for path in sorted(protocols.glob("*.yaml")):
        yield Named(path.stem, Workload(load_protocol(path)))
    yield step()
    if traces:
        yield from of_traces(traces, made)


def ray_policies(workload: Named, seed: int, document: Document) -> list[str]:
    """Every target on a workload's first seed, and then the best; on traces the best of the one that was swept."""
    is_trace = workload.workload.trace is not None
    swept = AZURE_SWEPT if is_trace else workload.name
    is_first = workload.name == swept and seed == workload.workload.protocol.seeds[0]
    if is_first or swept not in document:
        return [f"{RAY}-{target}" for target in RAY_TARGETS]
    return [best_ray_target(document[swept])]


def measure(workload: Named, policies: Sequence[str], seeds: int, document: Document, out: Path) -> None:
    old = document.get(workload.name, [])
    rows = document[workload.name] = [row for row in old if family(row["policy"]) not in policies]
    for seed in workload.workload.protocol.seeds[:seeds]:
        for policy in policies:
            for name in ray_policies(workload, seed, document) if policy == RAY else [policy]:
                row = row_of(Run(name, SCALERS[name], workload.workload, seed))
                rows.append(asdict(row))
                out.write_text(json.dumps(document, separators=(",", ":")) + "\n")
                print(f"{workload.name}: {name} {seed}: {row.slo_attainment:.4f} {row.replicas_mean:.2f}", flush=True)
    rows.sort(key=lambda row: list(SCALERS).index(row["policy"]))


def family(policy: str) -> str:
    return RAY if policy.startswith(RAY) else policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocols", type=Path, required=True)
    parser.add_argument("--traces", type=Path)
    parser.add_argument("--only", action="append", help="a workload's name, or how it begins")
    parser.add_argument("--policy", action="append", choices=POLICIES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=FOLDER / "autoscaling.json")
    arguments = parser.parse_args()
    document: Document = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    with TemporaryDirectory() as made:
        for workload in workloads(arguments.protocols, arguments.traces, Path(made)):
            if not arguments.only or any(workload.name.startswith(name) for name in arguments.only):
                measure(workload, arguments.policy or POLICIES, arguments.seeds, document, arguments.out)
                rows: Rows = document[workload.name]
                print(f"{workload.name}\n{table(rows)}", flush=True)
    arguments.out.with_suffix(".md").write_text(report(document))
    draw(document, arguments.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
