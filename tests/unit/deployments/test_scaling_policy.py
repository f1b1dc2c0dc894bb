"""What runs in Serve's controller neither raises nor waits, whatever is wrong around it."""

import threading
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from deployments import targets
from deployments.scaling_policy import ScalingPolicy


@dataclass
class Context:
    app_name: str
    target_num_replicas: int = 3


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    targets.followed_targets.cache_clear()
    monkeypatch.setattr(targets, "READ_PERIOD_S", 0.01)


def decided(policy: ScalingPolicy, application: str) -> int:
    return policy(Context(application))[0]  # type: ignore[arg-type]


def soon(policy: ScalingPolicy, application: str, wanted: int) -> bool:
    deadline_s = time.monotonic() + 5
    while decided(policy, application) != wanted and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return decided(policy, application) == wanted


def test_the_count_that_was_decided_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_internal_kv_get", lambda *_, **__: b'{"chat": 5, "rare": 0}')
    assert soon(ScalingPolicy(), "chat", 5)
    assert decided(ScalingPolicy(), "rare") == 0


def test_of_a_model_that_nothing_was_decided_of_the_count_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_internal_kv_get", lambda *_, **__: b'{"chat": 5}')
    assert soon(ScalingPolicy(), "chat", 5)
    assert decided(ScalingPolicy(), "another") == 3


@pytest.mark.parametrize("written", [b"nonsense", b"[]", b'{"chat": "5"}', b'{"chat": -1}', b'{"chat": null}', b""])
def test_nonsense_in_the_store_changes_nothing(monkeypatch: pytest.MonkeyPatch, written: bytes) -> None:
    reads: Counter[int] = Counter()

    def read(*_: object, **__: object) -> bytes:
        """Followers of other tests may still read."""
        reads[threading.get_ident()] += 1
        return b'{"chat": 5}' if written and reads[threading.get_ident()] == 1 else written

    monkeypatch.setattr(targets, "_internal_kv_get", read)
    policy = ScalingPolicy()
    assert not written or soon(policy, "chat", 5)
    deadline_s = time.monotonic() + 5
    while (not reads or min(reads.values()) < 3) and time.monotonic() < deadline_s:
        decided(policy, "chat")
        time.sleep(0.01)
    assert decided(policy, "chat") == (5 if written else 3)


def test_a_store_that_fails_or_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of 2 ms is for fifty models, each asked once."""

    def hang(*_: object, **__: object) -> bytes:
        time.sleep(0.5)
        raise RuntimeError("no GCS")

    monkeypatch.setattr(targets, "_internal_kv_get", hang)
    policies = [ScalingPolicy() for _ in range(50)]
    decided(policies[0], "m0")
    rounds = []
    for _ in range(21):
        began_s = time.perf_counter()
        counts = [decided(policy, f"m{i}") for i, policy in enumerate(policies)]
        rounds.append(time.perf_counter() - began_s)
        assert counts == [3] * 50
    assert sorted(rounds)[10] < 0.002


def test_a_follower_that_cannot_even_be_made_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(targets, "followed_targets", fail)
    assert decided(ScalingPolicy(), "chat") == 3
