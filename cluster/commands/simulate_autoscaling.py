"""`baryon simulate autoscaling`: what a scaling policy would have cost, and which SLO it would have met."""

import math
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cluster.checked_yaml import ConfigError
from cluster.commands.output import BAD_INPUT, FAILED, console, fail, print_json
from cluster.commands.simulation_table import simulated, table_of
from cluster.simulator.named import PolicyError, policies_named
from cluster.simulator.scaling.catalogue import SCALERS
from cluster.simulator.scaling.protocol import Protocol, load_protocol
from cluster.simulator.scaling.runs import Run, row_of
from cluster.simulator.scaling.workload import Workload, of_trace
from cluster.simulator.trace import open_trace
from cluster.simulator.trace_request import TraceError
from engine.simulated.profiles import ProfileError, get_profile, profiles

COLUMNS = (
    ("SLO met %", "slo_attainment", "{:.2f} ± {:.2f}", 100),
    ("replicas", "replicas_mean", "{:.2f} ± {:.2f}", 1),
    ("GPU hours", "gpu_hours", "{:.2f} ± {:.2f}", 1),
    ("actions", "actions", "{:.0f} ± {:.0f}", 1),
    ("flaps", "flaps", "{:.1f} ± {:.1f}", 1),
    ("TTFT p99 ms", "ttft_p99_ms", "{:,.0f} ± {:,.0f}", 1),
)


def autoscaling(
    protocol: Annotated[Path, typer.Option(help="A protocol file: hardware, lengths, SLO, counts, cold start, rates.")],
    trace: Annotated[Path | None, typer.Option(help="Requests of this trace instead of the protocol's.")] = None,
    speedup: Annotated[float, typer.Option(help="The trace's arrivals come this much faster.")] = 1.0,
    policy: Annotated[str, typer.Option(help="Policies to compare, with commas between them; or: all")] = "all",
    seeds: Annotated[int | None, typer.Option(min=1, help="The first so many of the protocol's seeds.")] = None,
    json: Annotated[bool, typer.Option("--json", help="For scripts: a list, one row per policy and seed.")] = False,
) -> None:
    """Compare autoscaling policies: SLO attainment, replicas and GPU hours, changes of the count, flaps.

    Example: baryon simulate autoscaling --protocol ramp.yaml --policy baryon,keda-waiting,oracle
    """
    try:
        test = load_protocol(protocol)
        get_profile(test.profile)
        workload = _workload(test, trace, speedup)
        policies = policies_named(policy, SCALERS)
        runs = [Run(name, factory, workload, seed) for name, factory in policies.items() for seed in test.seeds[:seeds]]
        rows = simulated(row_of, runs)
    except ProfileError as error:
        fail(f"{protocol}: profile: {escape(str(error))}; valid: {', '.join(profiles())}", BAD_INPUT)
    except (ConfigError, PolicyError, TraceError) as error:
        fail(escape(str(error)), BAD_INPUT)
    except BrokenProcessPool:
        fail("a process of the simulation was killed; is the machine out of memory?", FAILED)
    if json:
        print_json([asdict(row) for row in rows])
    else:
        promise = f"SLO: TTFT {test.slo.ttft_ms:g} ms and TPOT {test.slo.tpot_ms:g} ms"
        console.print(table_of(rows, list(policies), COLUMNS, promise))


def _workload(protocol: Protocol, trace: Path | None, speedup: float) -> Workload:
    if not 0 < speedup < math.inf:
        fail(f"--speedup: {speedup} is not a number above 0", BAD_INPUT)
    return of_trace(protocol, open_trace(trace), speedup) if trace else Workload(protocol)
