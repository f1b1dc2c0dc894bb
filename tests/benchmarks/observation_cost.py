"""What telling a latency histogram costs, in files as a gateway does it, against an earlier commit.

`python -m tests.benchmarks.observation_cost [--before COMMIT] [--json OUT]`. Nanoseconds of CPU per observation, the
least of rounds in turn: one time at a time (as where a request ends alone), ten at once, and the gaps between tokens of
one and of fifty streams of 50. Times are log-normal over two decades, so that they fall into many buckets.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from random import Random

from cluster.bench.overhead_run import commit_id, write_json
from tests.benchmarks.usage_cost import checked_out

ROOT = Path(__file__).parents[2]
BEFORE = "6d4c5c3"
ROUNDS, REPEATS, GAPS, STREAMS = 7, 400, 50, 50


def measure(folder: Path) -> dict[str, float]:
    """In this process, which keeps metrics in `folder` from then on."""
    from monitoring.instruments import Milliseconds, histogram
    from monitoring.metrics import ITL, TTFT
    from monitoring.process_files import write_to_files

    write_to_files(folder)
    random = Random(5)
    ttft = Milliseconds(histogram(TTFT, None).labels("m", "0"), TTFT)
    itl = Milliseconds(histogram(ITL, None).labels("m", "0"), ITL)
    times_ms = [random.lognormvariate(4.5, 1.2) for _ in range(1_000)]
    streams = [array("f", (random.lognormvariate(3.0, 0.6) for _ in range(GAPS))) for _ in range(STREAMS)]
    ones = [[ms] for ms in times_ms]
    tens = [times_ms[at : at + 10] for at in range(0, 1_000, 10)]
    return {
        "one_ns": least_ns(lambda number: ttft.add(ones[number % len(ones)]), 1),
        "ten_at_once_ns": least_ns(lambda number: ttft.add(tens[number % len(tens)]), 10),
        "gaps_of_one_stream_ns": least_ns(lambda number: itl.add_packed([streams[number % STREAMS]]), GAPS),
        "gaps_of_fifty_streams_ns": least_ns(lambda number: itl.add_packed(streams), GAPS * STREAMS),
    }


def least_ns(once: Callable[[int], object], observations: int) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began_s = time.process_time()
        for number in range(REPEATS):
            once(number)
        rounds.append((time.process_time() - began_s) / REPEATS / observations * 1e9)
    return round(min(rounds), 1)


def in_turn(trees: dict[str, Path]) -> dict[str, dict[str, float]]:
    least: dict[str, dict[str, float]] = {}
    for number in range(ROUNDS):
        for name, tree in list(trees.items())[:: 1 if number % 2 else -1]:
            command = [sys.executable, str(Path(__file__)), "--here"]
            out = subprocess.run(
                command, cwd=tree, env={"PYTHONPATH": str(tree)}, capture_output=True, check=True, text=True
            )
            for measured, ns in json.loads(out.stdout).items():
                row = least.setdefault(name, {})
                row[measured] = min(ns, row.get(measured, ns))
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default=BEFORE, help="a commit without native buckets")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help="this tree alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.here:
            print(json.dumps(measure(Path(folder))))
            return
        measured = in_turn({"before": checked_out(arguments.before, Path(folder)), "now": ROOT})
    report = {"benchmark": "observation_cost", "commit": commit_id(), "before": arguments.before, **measured}
    print(json.dumps(report, indent=1))
    if arguments.json:
        write_json(report, arguments.json)


if __name__ == "__main__":
    main()
