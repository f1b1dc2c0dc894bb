"""GPU nodes that come and go: Ray's autoscaler sees what is missing, and nothing is lost when a node leaves."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("nodes")
    command = [sys.executable, "-m", "tests.end_to_end.changing_nodes", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_a_replica_without_a_gpu_is_demand_until_a_node_is_added(seen: dict[str, Any]) -> None:
    """That it is demand before, the run itself waits for."""
    assert seen["demand_once_placed"] == {}


def test_a_node_that_drains_keeps_its_replica_until_another_node_has_one(seen: dict[str, Any]) -> None:
    assert seen["stayed_until_there_was_room"]


def test_no_stream_is_cut_and_no_client_sees_an_error(seen: dict[str, Any]) -> None:
    assert seen["failures"] == {}
    assert seen["outcomes"]["stream"]["whole"] > 0
    assert seen["cut"] == [0]
