"""What state tells of models and replicas, in words and numbers that stay few."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from deployments import scaling_metrics
from deployments.scaling_metrics import ScalingMetrics, oldest_starts, reason_word
from tests.unit.deployments.test_scaling import BUSY, CHAT, Kept, World, kept

__all__ = ["kept"]


class Ignored:
    """In place of Ray's instruments, which need a cluster."""

    def __init__(self, *_: Any) -> None: ...

    def set(self, *_: Any) -> None: ...

    inc = set


def row(replica: str, stage: str, started_at_s: float) -> dict[str, Any]:
    return {"replica_id": replica, "model": "chat", "stage": stage, "started_at_s": started_at_s}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("enough", "enough"),
        ("not needed for 120 s", "not_needed"),
        ("more is coming; limited to 8", "limited"),
        ("one request alone misses the SLO (ttft): no number of replicas keeps it", "slo_out_of_reach"),
        ("work waits; but one asked for 300 s ago is not ready yet, so no more are asked for", "work_waits"),
        ("something new", "other"),
    ],
)
def test_a_reason_is_one_of_a_few_words(reason: str, word: str) -> None:
    assert reason_word(reason) == word


def test_the_oldest_start_is_of_those_that_do_not_serve_yet() -> None:
    rows = [row("a", "ready", 0.0), row("b", "load", 70.0), row("c", "download", 90.0), row("d", "drain", 0.0)]
    assert oldest_starts(rows, 100.0) == {("chat",): 30.0}


def test_counts_follow_the_decisions(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("Counter", "Gauge"):
        monkeypatch.setattr(scaling_metrics, kind, Ignored)
    registry, world = CollectorRegistry(), World(kept, CHAT)
    metrics = ScalingMetrics(registry)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"baryon_{name}", {"model": "chat", **labels})

    metrics.publish(world.scaling, [row("a", "load", 0.0)], 40.0)
    before = value("autoscaler_desired_replicas")
    for _ in range(20):
        world.step(chat=BUSY)
    metrics.publish(world.scaling, [row("a", "ready", 0.0)], 60.0)
    target = world.scaling.models()["chat"].target
    assert before == 1
    assert value("autoscaler_desired_replicas") == target > 1
    assert value("autoscaler_changes_total", direction="up") == target - 1
    assert value("autoscaler_max_replicas") == 8
    assert value("slo_ttft_seconds") == 2
    assert (value("replicas", stage="load"), value("replicas", stage="ready")) == (0, 1)
    assert value("replica_oldest_start_seconds") == 0
    assert sum(f.value for m in registry.collect() if m.name == "baryon_autoscaler_reason" for f in m.samples) == 1
    metrics.failed("chat", "hung")
    assert value("replica_failures_total", cause="hung") == 1
