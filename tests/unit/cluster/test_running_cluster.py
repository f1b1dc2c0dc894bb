"""Commands find the cluster that was started here, and in a pod of KubeRay's the pod's own."""

import os
from pathlib import Path

import pytest

from cluster.run_folder import RunFolder, RunRecord
from cluster.running_cluster import running_cluster
from engine.process_tree import read_member

IN_A_POD = {"RAY_CLUSTER_NAME": "demo", "RAY_ADDRESS": "demo-head-svc.baryon.svc.cluster.local:6379"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    for name in (*IN_A_POD, "KUBERAY_GEN_RAY_START_CMD"):
        monkeypatch.delenv(name, raising=False)
    return RunFolder(tmp_path)


def record_of(pid: int) -> RunRecord:
    member = read_member(os.getpid())
    assert member is not None
    return RunRecord(pid, member.start_ticks, "127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "x.yaml")


def test_the_one_that_was_started_here(folder: RunFolder) -> None:
    folder.write(record_of(os.getpid()))
    assert running_cluster(folder) == record_of(os.getpid())


def test_none_where_its_head_has_gone(folder: RunFolder) -> None:
    assert running_cluster(folder) is None
    folder.write(record_of(2**22))
    assert running_cluster(folder) is None


def test_in_a_pod_the_one_whose_head_kuberay_names(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IN_A_POD.items():
        monkeypatch.setenv(name, value)
    found = running_cluster(folder)
    assert found is not None
    assert found.dashboard_url == "http://demo-head-svc.baryon.svc.cluster.local:8265"
    assert found.gcs_address == "auto"
