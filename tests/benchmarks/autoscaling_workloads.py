"""What the autoscaling benchmark asks: a step, and two traces made heavier, so that few requests keep many
replicas busy.

A replica of a 70B model on four A100s bears three average requests of these traces a second, and sixteen of them
millions in three days. So prompts and answers are made longer and the rate is scaled; and the three days are played
faster, days and all. Cold starts are not: 90 s are what nine minutes are to the real days.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from cluster.simulator.scaling.protocol import Protocol
from cluster.simulator.scaling.workload import Workload, of_trace, past_of
from cluster.simulator.trace import open_trace

COLD_STARTS_S = (90, 30, 180)
DAY_S = 86_400
AZURE, AZURE_LENGTHS = "azure2023_conv.csv", 4.0
SERVEGEN, SERVEGEN_LENGTHS, SERVEGEN_RATE, SERVEGEN_SPEEDUP = "servegen_m-large", 10.0, 0.0008, 6.0
AZURE_SWEPT = "azure conversation, cold start 90 s"
AZURE_TTFT_MS, SERVEGEN_TTFT_MS = 8_000, 15_000
MOST_TOKENS = 32_000
TUNED_ON_DAYS, TESTED_ON_DAYS = (2, 5), (7, 10)

STEP: dict[str, Any] = {
    "profile": "qwen3-32b-h100-tp2",
    "input_tokens": {"mean": 2_000, "cv": 0.8},
    "output_tokens": {"mean": 300, "cv": 0.8},
    "slo": {"ttft_ms": 2_000, "tpot_ms": 100},
    "replicas": {"min": 1, "max": 10, "initial": 1},
    "cold_start_s": 60,
    "seeds": [1, 2, 3],
    "segments": [[600, 3, 3], [10, 3, 15], [900, 15, 15]],
}
TRACE: dict[str, Any] = {
    "profile": "llama-3.1-70b-a100-tp4",
    "input_tokens": {"mean": 4_000, "cv": 1.0},
    "output_tokens": {"mean": 400, "cv": 1.0},
    "replicas": {"min": 2, "max": 20, "initial": 10},
    "segments": [[60, 0, 0]],
}


class Named(NamedTuple):
    """`name` is the heading of its rows."""

    name: str
    workload: Workload


def step() -> Named:
    return Named("step", Workload(Protocol.model_validate(STEP)))


def of_traces(traces: Path, made: Path, days: tuple[int, int] = TESTED_ON_DAYS) -> Iterator[Named]:
    """Each trace that is there, with each cold start; what is made of them lies in the folder `made`."""
    if (traces / AZURE).exists():
        longer = _longer_azure(traces / AZURE, made / AZURE)
        for cold_start_s in COLD_STARTS_S:
            yield Named(
                f"azure conversation, cold start {cold_start_s} s", _workload(longer, cold_start_s, 1.0, AZURE_TTFT_MS)
            )
    if (traces / f"{SERVEGEN}_rate.csv").exists():
        before = _heavier_servegen(traces, made, (days[0] - 1, days[0]))
        past = past_of(open_trace(before), SERVEGEN_SPEEDUP, DAY_S)
        heavier = _heavier_servegen(traces, made, days)
        for cold_start_s in COLD_STARTS_S:
            name = f"servegen m-large, cold start {cold_start_s} s"
            workload = _workload(heavier, cold_start_s, SERVEGEN_SPEEDUP, SERVEGEN_TTFT_MS)
            yield Named(name, replace(workload, past=past))


def _workload(trace: Path, cold_start_s: int, speedup: float, ttft_ms: float) -> Workload:
    slo = {"ttft_ms": ttft_ms, "tpot_ms": 100}
    protocol = Protocol.model_validate({**TRACE, "slo": slo, "cold_start_s": cold_start_s, "seeds": [1]})
    return of_trace(protocol, open_trace(trace), speedup)


def _longer_azure(path: Path, out: Path) -> Path:
    with path.open(newline="") as lines, out.open("w", newline="") as made:
        rows, writer = csv.reader(lines), csv.writer(made)
        writer.writerow(next(rows))
        for stamp, *tokens in rows:
            writer.writerow([stamp, *(_longer(int(count), AZURE_LENGTHS) for count in tokens)])
    return out


def _heavier_servegen(traces: Path, made: Path, days: tuple[int, int]) -> Path:
    begin_s, end_s = (day * DAY_S for day in days)
    out = made / f"{SERVEGEN}_rate.csv"
    with (traces / out.name).open(newline="") as lines, out.open("w", newline="") as rates:
        rows, writer = csv.reader(lines), csv.writer(rates)
        writer.writerow(next(rows))
        for at_s, rate in rows:
            if begin_s <= float(at_s) <= end_s:
                writer.writerow([float(at_s) - begin_s, SERVEGEN_RATE * float(rate)])
    lengths = f"{SERVEGEN}_lengths.jsonl"
    made_lines = [_longer_client(json.loads(line)) for line in (traces / lengths).read_text().splitlines()]
    (made / lengths).write_text("".join(json.dumps(row) + "\n" for row in made_lines))
    return out


def _longer_client(row: dict[str, Any]) -> dict[str, Any]:
    for tokens in (row[key] for key in ("input_tokens", "output_tokens") if key in row):
        tokens["q"] = [_longer(count, SERVEGEN_LENGTHS) for count in tokens["q"]]
    return row


def _longer(tokens: float, times: float) -> int:
    return round(min(MOST_TOKENS, times * tokens))
