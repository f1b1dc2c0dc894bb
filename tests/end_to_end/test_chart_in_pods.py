"""The release of values-cpu.yaml in pods made of namespaces: it answers, and pods that go cut nobody."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.run_folder import store_folder
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
from tests.end_to_end.chart_in_pods import MODEL
from tests.end_to_end.pods import ROOT

pytestmark = [pytest.mark.verify, pytest.mark.engine, pytest.mark.cluster]
NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid"]
NAMESPACES += ["--fork", "--kill-child", "--mount-proc"]
REAPING = ["sh", "-c", '"$@"; exit $?', "sh"]  # a pod ends only once orphans of its own are waited for by process 1
MAKE_A_BRIDGE = "ip link add name try type bridge && mount -t tmpfs t /run && unshare --user --map-user=10001 true"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_release(tmp_path_factory.mktemp("pods"), "gateway")


def run_release(folder: Path, moving: str) -> dict[str, Any]:
    missing = [tool for tool in ("unshare", "nsenter", "ip", "mount") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"pods need {', '.join(missing)}")
    tried = subprocess.run([*NAMESPACES, "sh", "-c", MAKE_A_BRIDGE], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine allows no namespaces: {tried.stderr.strip()}")
    ModelStore(store_folder()).materialise(parse_source(f"bundled:{MODEL}"))
    scenario = [sys.executable, "-m", "tests.end_to_end.chart_in_pods", str(folder), moving]
    command = [*NAMESPACES, *REAPING, *scenario]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_rendered_document_runs_and_a_chat_is_answered(seen: dict[str, Any]) -> None:
    served = seen["served"]
    assert served["applications"] == {"state": "RUNNING", MODEL: "RUNNING", "gateway": "RUNNING"}
    assert served["status"] == 200
    assert "Paris" in served["text"]


def test_a_key_of_the_secret_is_asked_for(seen: dict[str, Any]) -> None:
    assert seen["served"]["without_key"] == 401


def test_commands_in_the_heads_pod_find_the_cluster(seen: dict[str, Any]) -> None:
    assert seen["commands"] == {MODEL: "ready"}


def test_pods_write_to_their_volumes_alone_and_are_nobody_in_particular(seen: dict[str, Any]) -> None:
    for said in seen["confined"].values():
        assert said == ["10001", "/home/baryon", "/var/lib/baryon", "/tmp"]


def hands_over(moved: dict[str, Any]) -> bool:
    return moved["failures"] == {} and moved["whole"] > 0 and moved["hook"] == 0 and moved["moved"]


def test_a_gateways_pod_that_is_stopped_hands_over_and_cuts_no_stream(seen: dict[str, Any]) -> None:
    assert hands_over(seen["moved"]["gateway"]), seen["moved"]


def test_an_engines_pod_that_is_stopped_hands_over_and_cuts_no_stream(tmp_path: Path) -> None:
    """Minutes: on two cores an engine starts slowly beside one that answers."""
    moved = run_release(tmp_path, "cpu")["moved"]
    assert hands_over(moved["cpu"]), moved


def test_a_cluster_that_ends_finishes_its_streams_before_its_head_and_state_go(seen: dict[str, Any]) -> None:
    ended = seen["ended"]
    assert ended["failures"] == {}
    assert ended["whole"] > 0
    assert set(ended["order"][:2]) == {"cpu", "gateway"}
    assert set(ended["order"][2:]) == {"head", "state"}
