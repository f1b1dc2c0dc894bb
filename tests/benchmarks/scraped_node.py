"""`python -m tests.benchmarks.scraped_node FOLDER ENGINE_URL…`: one node's exporter; prints its port.

With the files of two gateways that have served three models to fifty tenants, one of them dead. Times are spread over
two decades, so that most native buckets there have counts.
"""

import asyncio
import os
import subprocess
import sys
from array import array
from pathlib import Path
from random import Random

from deployments.exporter_server import ExporterServer
from monitoring.engine_scrape import Engine
from monitoring.exporter import Exporter, NodeNames
from monitoring.exporter_app import exporter_app
from monitoring.node_files import NodeFiles

MODELS, TENANTS = ("llama-3.1-8b-instruct", "llama-3.3-70b-instruct", "qwen3-32b"), 50
REQUESTS_EACH, GAPS = 10, 20


async def serve(folder: Path, urls: list[str]) -> None:
    exporter = Exporter(NodeFiles(folder), NodeNames("a-node.example", "0" * 56, "10.0.0.1"), build())
    exporter.board.replace([Engine(MODELS[0], f"r{i:07d}", url, dict, 1, 400_000) for i, url in enumerate(urls)], 0.0)
    print(await ExporterServer(exporter_app(exporter, tuple)).listen("127.0.0.1", 0), flush=True)
    await asyncio.Event().wait()


def build() -> dict[str, str]:
    return dict.fromkeys(("version", "ray", "vllm", "python"), "1")


def fill(folder: Path) -> None:
    """As a gateway does."""
    from deployments.gateway.request_metrics import RequestMetrics
    from deployments.gateway.stages import QUEUE, ROUTE
    from monitoring.label_slots import LabelSlots
    from monitoring.process_files import write_to_files
    from tests.unit.gateway.test_request_metrics import completed

    files = write_to_files(folder)
    observe = RequestMetrics(LabelSlots(files.folder / "tenants.jsonl", 400))
    random = Random(os.getpid())
    for model in MODELS:
        for number in range(TENANTS * REQUESTS_EACH):
            record = completed(model, f"tenant-{number % TENANTS}", number % 2)
            record.ttft_ms = random.lognormvariate(5, 1.2)
            record.gaps_ms = array("f", (random.lognormvariate(3, 0.8) for _ in range(GAPS)))
            for stage in (QUEUE, ROUTE):
                record.stages.spent_ms[stage] *= random.lognormvariate(0, 1.2)
            record.output_tokens = random.randrange(2, 200)
            observe(record)
    observe.flush()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if sys.argv[2:] == ["--fill"]:
        fill(where)
        print("filled", flush=True)
        sys.stdin.read()
    else:
        gateways = [
            subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(where), "--fill"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        assert all(gateway.stdout is not None and gateway.stdout.readline() for gateway in gateways)
        gateways[0].kill()
        gateways[0].wait()
        asyncio.run(serve(where, sys.argv[2:]))
