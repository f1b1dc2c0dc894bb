"""State survives restarts, tells news from signs of life, and keeps causes of failures."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.state_store import (
    DRAINS_KEPT_PER_MODEL,
    FAILURES_KEPT_PER_MODEL,
    DrainReport,
    FailureReport,
    ReplicaReport,
    StateStore,
)

REPORT = ReplicaReport("r1", "m1", "node", 42, "vllm", "load", "", 10.0, {"download": 1.5})


class Clock:
    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> StateStore:
    store = StateStore(tmp_path / "state.sqlite", clock)
    store.replace_catalogue([{"name": "m1", "slo": {"ttft_ms": 2000}}, {"name": "m2"}])
    return store


def test_the_catalogue_keeps_the_order_of_the_configuration(store: StateStore) -> None:
    store.replace_catalogue([{"name": "z"}, {"name": "a"}])
    assert [card["name"] for card in store.catalogue()] == ["z", "a"]


def test_everything_is_there_after_a_restart(store: StateStore, tmp_path: Path, clock: Clock) -> None:
    store.record_replica(REPORT)
    store.record_failure(FailureReport("r0", "m1", "out_of_memory", "no room"))
    before = (store.catalogue(), store.replicas(), store.failures())
    store.close()
    reopened = StateStore(tmp_path / "state.sqlite", clock)
    assert (reopened.catalogue(), reopened.replicas(), reopened.failures()) == before


def test_a_sign_of_life_is_no_news_but_a_new_stage_is(store: StateStore) -> None:
    assert store.record_replica(REPORT)
    assert not store.record_replica(REPORT)
    assert store.record_replica(replace(REPORT, stage="ready"))
    assert store.record_replica(replace(REPORT, stage="ready", detail="12 of 40 MB"))


def test_a_failed_replica_leaves_the_list_and_its_cause_stays(store: StateStore) -> None:
    store.record_replica(REPORT)
    store.record_failure(FailureReport("r1", "m1", "bad_weights", "the file is cut short"))
    assert store.replicas() == []
    assert store.failures()[0]["cause"] == "bad_weights"


def test_a_replica_that_falls_silent_becomes_a_failure(store: StateStore, clock: Clock) -> None:
    store.record_replica(REPORT)
    clock.at_s += 19
    assert not store.record_lost_replicas(silent_for_s=20)
    clock.at_s += 2
    assert len(store.record_lost_replicas(silent_for_s=20)) == 1
    assert store.replicas() == []
    assert store.failures()[0]["cause"] == "replica_lost"


def test_only_the_newest_failures_of_a_model_are_kept(store: StateStore) -> None:
    for number in range(FAILURES_KEPT_PER_MODEL + 5):
        store.record_failure(FailureReport(f"r{number}", "m1", "killed", str(number)))
    store.record_failure(FailureReport("other", "m2", "killed", "kept"))
    kept = [failure["message"] for failure in store.failures() if failure["model"] == "m1"]
    assert kept == [str(number) for number in reversed(range(5, FAILURES_KEPT_PER_MODEL + 5))]
    assert store.failures()[0]["model"] == "m2"


def test_a_model_that_leaves_the_catalogue_takes_its_history_along(store: StateStore) -> None:
    store.record_replica(REPORT)
    store.record_failure(FailureReport("r0", "m1", "killed", "gone"))
    store.replace_catalogue([{"name": "m2"}])
    assert (store.replicas(), store.failures()) == ([], [])


def test_an_empty_catalogue_is_a_catalogue(store: StateStore) -> None:
    store.replace_catalogue([])
    assert store.catalogue() == []


def test_a_duplicate_name_changes_nothing(store: StateStore) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        store.replace_catalogue([{"name": "a"}, {"name": "a"}])
    assert [card["name"] for card in store.catalogue()] == ["m1", "m2"]


def test_only_the_owner_can_read_the_file(store: StateStore, tmp_path: Path) -> None:
    assert (tmp_path / "state.sqlite").stat().st_mode & 0o077 == 0


def test_a_replica_that_ends_leaves_the_list_and_what_it_cut_stays(store: StateStore) -> None:
    store.record_replica(REPORT)
    store.record_drain(DrainReport("r1", "m1", 60.0, 2))
    assert store.replicas() == []
    (drain,) = store.drains()
    assert (drain["replica_id"], drain["waited_s"], drain["cut_requests"], drain["at_s"]) == ("r1", 60.0, 2, 100.0)


def test_only_the_last_drains_of_a_model_are_kept(store: StateStore) -> None:
    for number in range(DRAINS_KEPT_PER_MODEL + 5):
        store.record_drain(DrainReport(f"r{number}", "m1", 1.0, 0))
    store.record_drain(DrainReport("other", "m2", 1.0, 0))
    kept = [drain["replica_id"] for drain in store.drains() if drain["model"] == "m1"]
    assert kept == [f"r{number}" for number in reversed(range(5, DRAINS_KEPT_PER_MODEL + 5))]
    assert [drain["replica_id"] for drain in store.drains() if drain["model"] == "m2"] == ["other"]
