"""Tensor-parallel replicas on several raylets with made-up GPU counts, placed by Ray itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster


def test_replicas_spread_each_inside_one_node_and_see_only_their_gpus(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.end_to_end.raylets", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(set(result["nodes"])) == 3
    assert result["visible_gpus"] == ["0,1"] * 3
    assert "needs 4 GPUs and 0.5 CPUs on one node" in result["refusal"]
