"""Long runs on a cluster with a simulated engine; each writes its numbers and the commit to docs/benchmarks/."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.bench.overhead_run import commit_id, write_json
from tests.end_to_end.cluster_process import ClusterProcess
from tests.verify.results import RESULTS

pytestmark = pytest.mark.verify
MODELS = "models: [{name: sim, engine: simulated, profile: instant, cpus_per_replica: 0.2}]\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterProcess]:
    process = ClusterProcess(MODELS)
    process.start()
    yield process
    assert process.stop() == []
    process.remove()


def measured(name: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    write_json({"benchmark": name, "commit": commit_id(), **result}, RESULTS / f"{name}.json")
    return result


def test_a_gateway_neither_grows_nor_loses_an_answer_over_a_hundred_thousand_requests(cluster: ClusterProcess) -> None:
    application = next(a for a in cluster.status()["applications"] if a["name"] == "gateway")
    result = measured("soak", cluster.port, application["replicas"][0]["pid"], "sim", 100_000)
    assert result["failed"] == 0
    assert abs(result["slope_mb_per_1000_requests"]) < 0.05


def test_a_thousand_waiting_streams_are_cheap() -> None:
    assert measured("idle_streams", 1000)["added_mb"] <= 50


def test_the_overhead_benchmark_prints_every_figure() -> None:
    """On real vLLM; the ratio's own limit is wide, since one run on a shared machine is no verdict."""
    command = [sys.executable, "-m", "cluster.cli", "bench", "overhead", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    write_json(result, RESULTS / "overhead.json")
    assert result["throughput_ratio"] > 0.7
    assert result["ttft_added_ms_p50"] < 3
    assert result["ttft_added_ms_p95"] < 8
    assert result["gateway_rss_mb"] <= 250
    assert len(result["rounds"]) == 18
