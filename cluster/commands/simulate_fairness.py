"""`baryon simulate fairness`: what a tenant that asks for little feels of one that asks for much."""

import math
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from cluster.commands.output import BAD_INPUT, FAILED, console, fail, print_json
from cluster.commands.simulation_table import simulated, table_of
from cluster.simulator.fairness.runs import ORDERS, Run, row_of
from cluster.simulator.fairness.workload import SHAPES, Workload
from cluster.simulator.simulation import Fleet
from engine.simulated.profiles import ProfileError, get_profile, profiles

COLUMNS = (
    ("light TTFT p50 ms", "light_ttft_p50_ms", "{:,.0f} ± {:,.0f}", 1),
    ("light TTFT p99 ms", "light_ttft_p99_ms", "{:,.0f} ± {:,.0f}", 1),
    ("light TPOT ms", "light_tpot_mean_ms", "{:.1f} ± {:.1f}", 1),
    ("heavy TTFT p50 ms", "heavy_ttft_p50_ms", "{:,.0f} ± {:,.0f}", 1),
    ("tokens/s", "tokens_per_s", "{:,.0f} ± {:,.0f}", 1),
)


def fairness(
    heavy: Annotated[str, typer.Option(help="What the heavy tenant sends: " + ", ".join(SHAPES))] = "chat",
    ratio: Annotated[float, typer.Option(help="Its tokens for each of the light tenant's.")] = 20.0,
    load: Annotated[float, typer.Option(help="Its requests ÷ what the replicas can do.")] = 1.3,
    profile: Annotated[str, typer.Option(help="Model and hardware.")] = "llama-3.1-70b-h100-tp4",
    replicas: Annotated[int, typer.Option(min=1)] = 4,
    gateways: Annotated[int, typer.Option(min=1, help="Each has a queue of its own.")] = 1,
    seconds: Annotated[float, typer.Option(help="Of requests.")] = 120.0,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    json: Annotated[bool, typer.Option("--json", help="For scripts: a list, one row per order and seed.")] = False,
) -> None:
    """A chat tenant beside one that asks for many times its tokens: alone, first come first served, and in fair order.

    Example: baryon simulate fairness --heavy documents --replicas 8
    """
    for name, value in (("ratio", ratio), ("load", load), ("seconds", seconds)):
        if not 0 < value < math.inf:
            fail(f"--{name}: {value} is not a number above 0", BAD_INPUT)
    if heavy not in SHAPES:
        fail(f"--heavy: there is no {escape(heavy)!r}; valid: {', '.join(SHAPES)}", BAD_INPUT)
    try:
        fleet = Fleet(get_profile(profile), replicas, gateways)
        workload = Workload(SHAPES[heavy], load, ratio, seconds)
        rows = simulated(row_of, [Run(order, workload, fleet, seed) for order in ORDERS for seed in range(seeds)])
    except ProfileError as error:
        fail(f"--profile: {escape(str(error))}; valid: {', '.join(profiles())}", BAD_INPUT)
    except BrokenProcessPool:
        fail("a process of the simulation was killed; is the machine out of memory?", FAILED)
    if json:
        print_json([asdict(row) for row in rows])
    else:
        console.print(table_of(rows, list(ORDERS), COLUMNS, f"the heavy tenant sends {heavy}, {ratio:g} × the tokens"))
