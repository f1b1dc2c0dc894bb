"""`baryon simulate`: what a policy would do with a trace, without a GPU."""

import math
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cluster.commands.output import BAD_INPUT, FAILED, console, fail, print_json
from cluster.commands.simulate_autoscaling import autoscaling
from cluster.commands.simulate_fairness import fairness
from cluster.commands.simulation_table import simulated, table_of
from cluster.simulator.named import PolicyError, policies_named
from cluster.simulator.policies.catalogue import POLICIES
from cluster.simulator.runs import Run, row_of
from cluster.simulator.scenarios import SCENARIOS, Scenario
from cluster.simulator.simulation import DEFAULT_SLO, Fleet
from cluster.simulator.trace import Trace, open_trace
from cluster.simulator.trace_request import TraceError
from deployments.gateway.routing.score import Slo
from engine.simulated.profiles import Profile, ProfileError, get_profile, profiles

DEFAULT_PROFILE = "llama-3.1-70b-h100-tp4"
COLUMNS = (
    ("TTFT ms", "ttft_mean_ms", "{:,.0f} ± {:,.0f}", 1),
    ("TTFT p90 ms", "ttft_p90_ms", "{:,.0f} ± {:,.0f}", 1),
    ("TPOT ms", "tpot_mean_ms", "{:.1f} ± {:.1f}", 1),
    ("E2E ms", "e2e_mean_ms", "{:,.0f} ± {:,.0f}", 1),
    ("SLO met %", "slo_attainment", "{:.1f} ± {:.1f}", 100),
    ("cached %", "prefix_hit_rate", "{:.1f} ± {:.1f}", 100),
    ("failed", "failed", "{:,.0f} ± {:,.0f}", 1),
)

simulate = typer.Typer(help="Ask the simulator, which runs the gateway's own code.", no_args_is_help=True)
simulate.command()(autoscaling)
simulate.command()(fairness)


@simulate.callback()
def _simulate() -> None:
    """Ask the simulator, which runs the gateway's own code."""


def _above_zero(value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value} is not a number above 0")
    return value


@simulate.command()
def routing(
    trace: Annotated[
        str, typer.Option(help="A Mooncake, Azure or ServeGen file, or a built-in workload: " + ", ".join(SCENARIOS))
    ],
    profile: Annotated[str, typer.Option(help="Model and hardware; an unknown name lists them all.")] = DEFAULT_PROFILE,
    replicas: Annotated[int, typer.Option(min=1)] = 8,
    speedup: Annotated[float, typer.Option(callback=_above_zero, help="Arrivals come this much faster.")] = 1.0,
    policy: Annotated[str, typer.Option(help="Policies to compare, with commas between them; or: all")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Runs per policy, each with other arrivals.")] = 5,
    gateways: Annotated[int, typer.Option(min=1, help="Each knows only what it sent, and what it is told.")] = 1,
    ttft_slo_ms: Annotated[float, typer.Option(callback=_above_zero)] = DEFAULT_SLO.ttft_ms,
    tpot_slo_ms: Annotated[float, typer.Option(callback=_above_zero)] = DEFAULT_SLO.tpot_ms,
    duration_s: Annotated[
        float | None, typer.Option(callback=_above_zero, help="Only so much of the trace, in its own seconds.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For scripts: a list, one row per policy and seed.")] = False,
) -> None:
    """Compare routing policies on a trace: TTFT, TPOT, end to end, SLO attainment, prefix-cache hits.

    Example: baryon simulate routing --trace shared-prefix --policy baryon,round-robin --seeds 3
    """
    slo = Slo(ttft_slo_ms, tpot_slo_ms)
    fleet = Fleet(_profile(profile), replicas, gateways, slo=slo)
    workload = _workload(trace, duration_s)
    limit_s = duration_s or math.inf
    try:
        policies = policies_named(policy, POLICIES)
        runs = [
            Run(name, factory, workload, fleet, seed, speedup, limit_s)
            for name, factory in policies.items()
            for seed in range(seeds)
        ]
        rows = simulated(row_of, runs)
    except (PolicyError, TraceError) as error:
        fail(escape(str(error)), BAD_INPUT)
    except BrokenProcessPool:
        fail("a process of the simulation was killed; is the machine out of memory?", FAILED)
    if not all(row.requests for row in rows):
        limit = f" in its first {duration_s:g} s; ask for more by --duration-s" if duration_s else ""
        fail(escape(f"{trace}: no request{limit}"), BAD_INPUT)
    if json:
        print_json([asdict(row) for row in rows])
    else:
        promise = f"SLO: TTFT {slo.ttft_ms:g} ms and TPOT {slo.tpot_ms:g} ms"
        console.print(table_of(rows, list(policies), COLUMNS, promise))


def _profile(name: str) -> Profile:
    try:
        return get_profile(name)
    except ProfileError as error:
        fail(f"--profile: {escape(str(error))}; valid: {', '.join(profiles())}", BAD_INPUT)


def _workload(name: str, duration_s: float | None) -> Trace | Scenario:
    if name in SCENARIOS:
        scenario = SCENARIOS[name]
        return replace(scenario, seconds=duration_s or scenario.seconds)
    try:
        return open_trace(Path(name))
    except TraceError as error:
        hint = "" if Path(name).exists() else f"; built in are: {', '.join(SCENARIOS)}"
        fail(f"--trace: {escape(str(error))}{hint}", BAD_INPUT)
