"""`baryon backtest`: what recorded days would have cost under another policy or SLO, and which they would have met."""

import math
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from cluster.autoscaler.cold_start import PRIOR_S
from cluster.commands.output import BAD_INPUT, FAILED, console, fail, print_json
from cluster.commands.simulation_table import simulated, table_of
from cluster.config import Slo as Promised
from cluster.run_folder import default_run_folder
from cluster.simulator.named import PolicyError, policies_named
from cluster.simulator.scaling.catalogue import SCALERS
from cluster.simulator.scaling.fixed import ExactCapacity, Oracle
from cluster.simulator.scaling.protocol import Counts, Objective
from cluster.simulator.scaling.run import Site
from cluster.simulator.scaling.runs import Run, row_of
from cluster.simulator.scaling.usage import Recorded, Summary, summary_of, workload_of
from cluster.simulator.scaling.workload import Workload
from cluster.simulator.trace_request import TraceError
from deployments.gateway.routing.router import Router
from deployments.gateway.routing.score import Slo
from deployments.usage_log import DAY_S, UsageLogError, spans
from engine.simulated.profiles import ProfileError, get_profile, profiles

OWN_LOG = "usage-log"
SEED = 1
DEFAULT_POLICIES = "baryon,static-peak,oracle"
COLUMNS = (
    ("SLO met %", "slo_attainment", "{:.2f}", 100),
    ("replicas", "replicas_mean", "{:.2f}", 1),
    ("GPU hours", "gpu_hours", "{:,.1f}", 1),
    ("actions", "actions", "{:.0f}", 1),
    ("flaps", "flaps", "{:.0f}", 1),
    ("TTFT p99 ms", "ttft_p99_ms", "{:,.0f}", 1),
)


def backtest(
    log: Annotated[str, typer.Option("--from", help="usage-log: what this machine's cluster recorded; or a file.")],
    model: Annotated[str, typer.Option(help="The model, as clients name it.")],
    profile: Annotated[str, typer.Option(help="What a replica would run on, e.g. qwen3-32b-h100-tp2.")],
    policy: Annotated[str, typer.Option(help="Policies to compare, with commas between; or: all")] = DEFAULT_POLICIES,
    ttft_slo_ms: Annotated[float, typer.Option(help="SLO: time to first token.")] = Promised().ttft_ms,
    tpot_slo_ms: Annotated[float, typer.Option(help="SLO: time per output token after it.")] = Promised().tpot_ms,
    least: Annotated[int, typer.Option("--min", help="Replicas, at least.")] = 1,
    most: Annotated[int, typer.Option("--max", help="Replicas, at most.")] = 100,
    initial: Annotated[int | None, typer.Option(help="Replicas at first. Default: what is needed then.")] = None,
    cold_start_s: Annotated[float, typer.Option(help="From asking for a replica to its serving.")] = PRIOR_S,
    days: Annotated[float, typer.Option(help="The last so many days of the log.")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """What the last days would have cost, and which SLO they would have met, under another policy or SLO.

    Example: baryon backtest --from usage-log --model chat --profile qwen3-32b-h100-tp2 --ttft-slo-ms 1000 --days 7
    """
    for name, value in (("ttft-slo-ms", ttft_slo_ms), ("tpot-slo-ms", tpot_slo_ms), ("days", days)):
        if not 0 < value < math.inf:
            fail(f"--{name}: {value} is not a number above 0", BAD_INPUT)
    if not 0 < cold_start_s < DAY_S:
        fail(f"--cold-start-s: {cold_start_s} is not above 0 and below a day", BAD_INPUT)
    try:
        policies = policies_named(policy, SCALERS)
        get_profile(profile)
        recorded = _recorded(log, model, days)
        summary = summary_of(recorded)
        slo, counts = Objective(ttft_ms=ttft_slo_ms, tpot_ms=tpot_slo_ms), _counts(least, most, initial)
        workload = workload_of(recorded, summary, profile, slo, counts, cold_start_s)
        workload = _begun(workload, is_given=initial is not None)
        rows = simulated(row_of, [Run(name, factory, workload, SEED) for name, factory in policies.items()])
    except ProfileError as error:
        fail(f"--profile: {escape(str(error))}; valid: {', '.join(profiles())}. {_HOW_TO_ADD}", BAD_INPUT)
    except PolicyError as error:
        fail(f"--policy: {escape(str(error))}", BAD_INPUT)
    except (TraceError, UsageLogError) as error:
        fail(escape(str(error)), BAD_INPUT)
    except BrokenProcessPool:
        fail("a process of the simulation was killed; is the machine out of memory? Fewer --days need less", FAILED)
    if json:
        print_json({**_document(recorded, summary), "rows": [asdict(row) for row in rows]})
        return
    _print(recorded, summary, profile)
    console.print(table_of(rows, list(policies), COLUMNS, f"SLO: TTFT {ttft_slo_ms:g} ms and TPOT {tpot_slo_ms:g} ms"))


_HOW_TO_ADD = (
    "Other hardware needs the seven coefficients of its step time and the tokens of its KV cache in "
    "engine/simulated/profiles.json; `python -m tests.benchmarks.validation` fits them to a CPU"
)


def _recorded(log: str, model: str, days: float) -> Recorded:
    path = default_run_folder().usage_path if log == OWN_LOG else Path(log)
    if log == OWN_LOG and not path.exists():
        fail(
            f"--from: no cluster has recorded usage in {path.parent} yet; it is written while one runs. "
            "BARYON_RUN_DIR names another run folder, --from FILE another log",
            BAD_INPUT,
        )
    known = spans(path)
    if model not in known:
        valid = ", ".join(known) or "none"
        fail(f"--model: {escape(f'{path} knows no model {model!r}; it has: {valid}')}", BAD_INPUT)
    first_s, last_s = known[model]
    return Recorded(path, model, max(first_s, last_s - days * DAY_S), last_s)


def _counts(least: int, most: int, initial: int | None) -> Counts:
    try:
        return Counts(min=least, max=most, initial=least if initial is None else initial)
    except ValidationError as error:
        told = error.errors()[0]
        where = f"--{told['loc'][0]}" if told["loc"] else "--min, --initial, --max"
        fail(f"{where}: {told['msg'].removeprefix('Value error, ')}", BAD_INPUT)


def _begun(workload: Workload, *, is_given: bool) -> Workload:
    """With as many replicas as the first minutes need, if nobody says how many there were."""
    protocol = workload.protocol
    slo, profile = Slo(protocol.slo.ttft_ms, protocol.slo.tpot_ms), get_profile(protocol.profile)
    site = Site(workload, profile, slo, Router(Random(SEED), slo), SEED)  # noqa: S311
    if ExactCapacity(site).one_rps() <= 0:
        fail(
            f"no number of replicas keeps TTFT {slo.ttft_ms:g} ms and TPOT {slo.tpot_ms:g} ms: on {profile.name} an "
            "average request of this log misses it alone",
            BAD_INPUT,
        )
    if is_given:
        return workload
    counts = protocol.replicas
    needed = max(counts.min, min(counts.max, Oracle(site).initial()))
    begun = protocol.model_copy(update={"replicas": counts.model_copy(update={"initial": needed})})
    return replace(workload, protocol=begun)


def _document(recorded: Recorded, summary: Summary) -> dict[str, object]:
    return {
        "model": recorded.model,
        "from_s": recorded.from_s,
        "to_s": recorded.to_s,
        "recorded_s": summary.seconds,
        "requests": summary.requests,
        "prompt_tokens_mean": summary.prompt_tokens.mean,
        "output_tokens_mean": summary.output_tokens.mean,
        "prefix_hit_rate": summary.hit_rate,
    }


def _print(recorded: Recorded, summary: Summary, profile: str) -> None:
    end = datetime.fromtimestamp(recorded.to_s).astimezone()
    left_out_s = recorded.to_s - recorded.from_s - summary.seconds
    console.print(
        f"{escape(recorded.model)}: {summary.seconds / 3600:.1f} h up to {end:%Y-%m-%d %H:%M %Z}\n"
        f"prompts of {summary.prompt_tokens.mean:,.0f} tokens ({100 * summary.hit_rate:.0f} % cached), "
        f"answers of {summary.output_tokens.mean:,.0f}"
    )
    if left_out_s > 60:
        console.print(f"[yellow]left out[/yellow] {left_out_s / 3600:.1f} h in which nothing was recorded")
    if "-tp" not in profile:
        console.print(f"[yellow]no GPU[/yellow] with {profile} an hour of a replica counts as a GPU hour")
