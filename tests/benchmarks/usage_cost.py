"""What exact usage costs: a gateway with it beside one of an earlier commit, same engine, same run.

`python -m tests.benchmarks.usage_cost [--before COMMIT] [--json OUT]`. The gateways' CPU time is from /proc; what vLLM
pays for saying the usage in each event is the time that its own classes take to make and write one.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import uvloop

from cluster.bench.http_load import Target
from cluster.bench.overhead_run import commit_id
from tests.benchmarks.gateway_cpu import free_port, per_chunk, rss_mb, running, unary

BEFORE = "c53e036"
CHUNKS, INTERVAL_MS, ROUNDS = 100, 10.0, 7
ROOT = Path(__file__).parents[2]

VLLM_EVENT = """
import statistics, timeit
from vllm.entrypoints.openai.chat_completion.protocol import (
    ChatCompletionResponseStreamChoice as Choice, ChatCompletionStreamResponse as Response)
from vllm.entrypoints.openai.chat_completion.protocol import DeltaMessage
from vllm.entrypoints.serve.engine.protocol import UsageInfo

def event(counted):
    choice = Choice(index=0, delta=DeltaMessage(content=" token"), logprobs=None, finish_reason=None)
    made = Response(id="chatcmpl-0f1e2d3c", object="chat.completion.chunk", created=1, choices=[choice], model="m")
    if counted:
        made.usage = UsageInfo(prompt_tokens=9, completion_tokens=7, total_tokens=16)
    return made.model_dump_json(exclude_unset=True)

def cost_us(counted):
    return timeit.timeit(lambda: event(counted), number=2000) / 2000 * 1e6

rounds = [[cost_us(False), cost_us(True)] for _ in range(15)]
print(*(statistics.median(one) for one in zip(*rounds)))
"""


def checked_out(commit: str, folder: Path) -> Path:
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive, check=True)
    return folder


async def measure(before: Path) -> dict[str, dict[str, list[float]]]:
    engine_port, with_port, without_port = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{engine_port}"
    ours = [sys.executable, "-m"]
    rows: dict[str, dict[str, list[float]]] = {}
    with (
        running([*ours, "tests.benchmarks.fake_engine", str(engine_port), str(CHUNKS), str(INTERVAL_MS)], engine_port),
        running([*ours, "tests.benchmarks.lone_gateway", str(with_port), url], with_port) as with_pid,
        running([*ours, "tests.benchmarks.lone_gateway", str(without_port), url], without_port, before) as without_pid,
    ):
        targets = [
            (Target("with", "127.0.0.1", with_port), with_pid),
            (Target("without", "127.0.0.1", without_port), without_pid),
        ]
        for number in range(ROUNDS):
            for target, pid in targets if number % 2 == 0 else reversed(targets):
                row = rows.setdefault(target.name, {"unary_us": [], "chunk_us": [], "rss_mb": []})
                row["unary_us"].append(await unary(target, pid))
                row["chunk_us"].append(await per_chunk(target, pid))
                row["rss_mb"].append(rss_mb(pid))
    return rows


def vllm_event_us() -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", VLLM_EVENT], capture_output=True, text=True, check=True)
    without, counted = (float(word) for word in done.stdout.split()[-2:])
    return {"without": without, "with": counted}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", default=BEFORE, help="a commit without the ledger")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(measure(checked_out(arguments.before, Path(folder))))
    medians = {name: {key: statistics.median(values) for key, values in row.items()} for name, row in rows.items()}
    result = {
        "benchmark": "usage_cost",
        "commit": commit_id(),
        "before": arguments.before,
        "medians": medians,
        "ratio": {key: medians["with"][key] / medians["without"][key] for key in medians["with"]},
        "vllm_event_us": vllm_event_us(),
        "rounds": rows,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "rounds"}, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
