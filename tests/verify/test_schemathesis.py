"""Requests that schemathesis makes of the OpenAPI document, valid and not: every answer is one that the document has.

The gateway may grow by what it remembers (docs/gateway_memory.md lists it with its bounds). The same cases once more
bring nothing new to remember: what it grows by then would come of each request, or is a hole in the heap, of which
Python's allocator takes whole MiB.

Needs `schemathesis` (4.32) on the path: it is not among the project's own dependencies.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from cluster.bench.overhead_run import commit_id, write_json
from deployments.gateway.openapi import document
from tests.benchmarks.gateway_cpu import free_port, rss_mb, running
from tests.verify.results import RESULTS

pytestmark = pytest.mark.verify
CASES_PER_OPERATION = 600
LEAST_CASES = 20_000
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"
TOLERATED_GROWTH_MB = 15
TOLERATED_GROWTH_AGAIN_MB = 3


def of_one_model(name: str) -> dict[str, object]:
    """The document, where the only model is the one that is served."""
    made = document()
    for operations in made["paths"].values():
        if "post" in operations:
            schema = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
            schema["properties"]["model"] = {"const": name}
    return made


def ask_all(folder: Path, url: str) -> int:
    """How many cases there were. They are the same each time."""
    options = ["--phases", "coverage,fuzzing", "--max-examples", str(CASES_PER_OPERATION), "--checks", CHECKS]
    options += ["--seed", "5", "--no-shrink", "--generation-database", "none", "--request-timeout", "20"]
    run = subprocess.run(
        ["schemathesis", "run", "openapi.json", "--url", url, *options, "--no-color"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    (cases,) = re.findall(r"(\d+) generated", run.stdout)
    return int(cases)


@pytest.mark.skipif(shutil.which("schemathesis") is None, reason="schemathesis is not installed")
def test_every_answer_is_in_the_document(tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(orjson.dumps(of_one_model("m")))
    engine, port = free_port(), free_port()
    simulated = ["--model", "m", "--port", str(engine), "--profile", "instant"]
    with (
        running([sys.executable, "-m", "engine.simulated", *simulated], engine),
        running(
            [sys.executable, "-m", "tests.benchmarks.lone_gateway", str(port), f"http://127.0.0.1:{engine}"], port
        ) as gateway,
    ):
        url = f"http://127.0.0.1:{port}"
        before_mb = rss_mb(gateway)
        cases = ask_all(tmp_path, url)
        once_mb = rss_mb(gateway)
        cases += ask_all(tmp_path, url)
        grown_mb, grown_again_mb = round(once_mb - before_mb, 1), round(rss_mb(gateway) - once_mb, 1)
        write_json(
            {
                "benchmark": "schemathesis",
                "commit": commit_id(),
                "cases": cases,
                "grown_mb": round(grown_mb + grown_again_mb, 1),
                "grown_again_mb": grown_again_mb,
            },
            RESULTS / "schemathesis.json",
        )
        assert cases >= LEAST_CASES
        assert grown_mb + grown_again_mb < TOLERATED_GROWTH_MB
        assert grown_again_mb < TOLERATED_GROWTH_AGAIN_MB
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
