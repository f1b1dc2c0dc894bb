"""How long `up` and `apply` wait for a model whose replicas fail."""

import time
from typing import Any

import pytest

from cluster import bring_up
from cluster.bring_up import BringUpError, replica_ids, wait_until_serving
from cluster.run_folder import RunRecord

RECORD = RunRecord(pid=1, start_ticks=1, gcs_address="", dashboard_url="", gateway_url="", config_path="", admin_url="")


def application(status: str, *replicas: str) -> dict[str, Any]:
    return {"status": status, "deployments": {"Replica": {"replicas": [{"replica_id": r} for r in replicas]}}}


def failure(cause: str, replica: str) -> dict[str, Any]:
    return {"model": "m", "cause": cause, "message": "it said why", "replica_id": replica, "at_s": time.time() + 60}


class Cluster:
    """In place of Serve and state: `looks` at the model's application, one after the other."""

    def __init__(self, *looks: dict[str, Any], failures: list[dict[str, Any]]) -> None:
        self._looks, self._failures = list(looks), failures

    def applications(self) -> dict[str, Any]:
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        return {"state": application("RUNNING"), "model-m": look}

    def snapshot(self) -> dict[str, Any]:
        return {"models": [{"name": "m", "application": "model-m"}], "replicas": [], "failures": self._failures}

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None: ...


def wait(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, **options: Any) -> None:
    monkeypatch.setattr(bring_up, "ServeApi", lambda _: cluster)
    monkeypatch.setattr(bring_up, "LiveState", lambda _: cluster)
    monkeypatch.setattr(bring_up, "POLL_S", 0.0)
    wait_until_serving(RECORD, lambda _: None, 0.2, **options)


@pytest.mark.parametrize("cause", ["bad_weights", "unsupported_model", "bad_argument"])
def test_what_cannot_heal_ends_the_wait_with_its_first_replica(monkeypatch: pytest.MonkeyPatch, cause: str) -> None:
    cluster = Cluster(application("DEPLOYING", "r1"), failures=[failure(cause, "r1")])
    with pytest.raises(BringUpError, match=f"m: {cause}: it said why") as raised:
        wait(monkeypatch, cluster)
    assert raised.value.applications == ["model-m"]


@pytest.mark.parametrize("cause", ["out_of_memory", "killed", "port_taken", "download_failed", "unknown"])
def test_what_may_heal_is_tried_again(monkeypatch: pytest.MonkeyPatch, cause: str) -> None:
    looks = application("DEPLOYING", "r1"), application("DEPLOYING", "r2"), application("RUNNING", "r2")
    wait(monkeypatch, Cluster(*looks, failures=[failure(cause, "r1")]))


def test_a_replica_of_the_version_before_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = application("DEPLOYING", "old"), application("RUNNING", "new")
    wait(monkeypatch, Cluster(*looks, failures=[failure("bad_weights", "old")]), earlier={"old"})


def test_a_model_that_serves_is_not_given_up_for_a_replica_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    wait(monkeypatch, Cluster(application("RUNNING", "r1"), failures=[failure("bad_weights", "r2")]))


def test_to_the_end_means_that_the_others_serve_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Cluster):
        def applications(self) -> dict[str, Any]:
            return super().applications() | {"broken": application("DEPLOYING", "b1")}

        def snapshot(self) -> dict[str, Any]:
            snapshot = super().snapshot()
            return snapshot | {"models": [*snapshot["models"], {"name": "b", "application": "broken"}]}

    told = failure("bad_weights", "b1") | {"model": "b"}
    looks = Two(application("DEPLOYING"), application("DEPLOYING"), application("RUNNING"), failures=[told])
    with pytest.raises(BringUpError) as raised:
        wait(monkeypatch, looks, to_the_end=True)
    assert raised.value.applications == ["broken"]
    assert looks.applications()["model-m"]["status"] == "RUNNING"


def test_replicas_of_every_application_are_known() -> None:
    assert replica_ids({"a": application("RUNNING", "r1", "r2"), "b": {"status": "DEPLOYING"}}) == {"r1", "r2"}
