"""Replicas follow demand on a running cluster, up and down again, and no client notices that they come and go."""

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from cluster.bench.overhead_run import commit_id, write_json
from tests.end_to_end.cluster_process import ClusterProcess
from tests.verify.ramp_load import Asked, outcomes, ramp_load
from tests.verify.results import RESULTS

pytestmark = pytest.mark.verify
SLO_TTFT_MS = 2_000
SIMULATED = """
models:
  - name: sim
    engine: simulated
    profile: llama-3.1-70b-a100-tp4
    cpus_per_replica: 0.1
    replicas: {min: 1, max: 6}
"""
REAL = """
models:
  - name: chat
    source: bundled:smollm2-135m-instruct
    kv_cache_gib: 0.75
    cpus_per_replica: 0.5
    replicas: {min: 0, max: 2}
    slo: {ttft_ms: TTFT_MS, tpot_ms: 2000}
    engine_args: {max_model_len: 2048}
"""
RAMP = [(30.0, 1.0, 1.0), (120.0, 1.0, 13.0), (60.0, 13.0, 13.0), (60.0, 13.0, 0.5), (220.0, 0.5, 0.5)]
PROMPT_WORDS, OUTPUT_TOKENS = 1_000, 40
REAL_PROMPT_WORDS, REAL_OUTPUT_TOKENS = 60, 3
# One replica keeps three times the time of a prefill until prefills take a quarter of its time (the formula).
TTFT_IN_PREFILLS, PREFILLING = 3.0, 0.6


class Watch:
    """The count of a model's replicas, each time it changes."""

    def __init__(self, cluster: ClusterProcess, model: str) -> None:
        self._live, self._model = cluster.live, model
        self._began_s = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.changes: list[tuple[float, int]] = []

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def counts(self) -> list[int]:
        return [count for _, count in self.changes]

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            replicas = (self._live.snapshot() or {"replicas": []})["replicas"]
            ready = sum(replica["model"] == self._model and replica["stage"] == "ready" for replica in replicas)
            if not self.changes or ready != self.changes[-1][1]:
                self.changes.append((round(time.monotonic() - self._began_s, 1), ready))


def summary(asked: list[Asked], slo_ttft_ms: float = SLO_TTFT_MS) -> dict[str, Any]:
    ttfts = sorted(one.ttft_ms for one in asked)
    return {
        "requests": len(asked),
        "outcomes": outcomes(asked),
        "ttft_ms": {"p50": ttfts[len(ttfts) // 2], "p99": ttfts[int(0.99 * len(ttfts))]},
        "ttft_within_slo": sum(ttft <= slo_ttft_ms for ttft in ttfts) / len(ttfts),
    }


def test_one_to_six_and_back_under_a_ramp() -> None:
    cluster = ClusterProcess(SIMULATED)
    try:
        cluster.start()
        with Watch(cluster, "sim") as watch:
            asked = asyncio.run(ramp_load(cluster.url, "sim", RAMP, 1, OUTPUT_TOKENS, PROMPT_WORDS))
        decisions = cluster.live.decisions("sim", 50, changes_only=True)
        result = summary(asked) | {"replicas_over_time": watch.changes, "decisions": decisions[::-1]}
        write_json(
            {"benchmark": "autoscaling, live", "commit": commit_id(), **result}, RESULTS / "autoscaling_live.json"
        )
        assert set(outcomes(asked)) == {"whole"}, outcomes(asked)
        assert max(watch.counts) == 6, watch.changes
        assert watch.counts[-1] == 1, watch.changes
        top = watch.counts.index(6)
        assert watch.counts[top:] == sorted(watch.counts[top:], reverse=True), watch.changes
        assert cluster.stop() == []
    finally:
        cluster.remove()


def wait_for_count(cluster: ClusterProcess, model: str, count: int, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while len(cluster.replicas(model)) != count:
        assert time.monotonic() < deadline_s, cluster.status()
        time.sleep(2)


def real(ttft_ms: float) -> str:
    return REAL.replace("TTFT_MS", str(round(ttft_ms)))


def prefill_alone_ms(cluster: ClusterProcess) -> float:
    """Of such a prompt as the load has, on this machine: the fastest of ten, one after the other.

    An engine's first answers take longer than those after, and what the SLO and the load are made of is to be no less
    than the engine can do.
    """
    times_ms = []
    for _ in range(10):
        prompt = " ".join(f"w{random.randrange(10_000)}" for _ in range(REAL_PROMPT_WORDS))
        began_s = time.monotonic()
        cluster.post("/v1/completions", {"model": "chat", "prompt": prompt, "max_tokens": 1}).raise_for_status()
        times_ms.append(1000 * (time.monotonic() - began_s))
    return min(times_ms)


def test_zero_to_two_and_back_to_zero_with_real_engines() -> None:
    """The load and the SLO are measured on the machine, so that one replica cannot keep the SLO and two can serve."""
    cluster = ClusterProcess(real(60_000))
    try:
        cluster.start()
        with Watch(cluster, "chat") as watch:
            began_s = time.monotonic()
            woken = cluster.post("/v1/completions", {"model": "chat", "prompt": "Hello", "max_tokens": 5}, 200)
            woken_s = time.monotonic() - began_s
            prefill_ms = prefill_alone_ms(cluster)
            applied = cluster.run("apply", str(cluster.write_config(real(TTFT_IN_PREFILLS * prefill_ms))))
            rate = PREFILLING * 1000 / prefill_ms
            load = ramp_load(cluster.url, "chat", [(150.0, rate, rate)], 2, REAL_OUTPUT_TOKENS, REAL_PROMPT_WORDS)
            asked = asyncio.run(load)
            wait_for_count(cluster, "chat", 0, 600)
            time.sleep(1)
        decisions = cluster.live.decisions("chat", 50, changes_only=True)
        looks = cluster.live.decisions("chat", 200, changes_only=False)
        result = {
            "prefill_alone_ms": round(prefill_ms, 1),
            "requests_per_s": round(rate, 2),
            "woken_s": round(woken_s, 1),
            **summary(asked, TTFT_IN_PREFILLS * prefill_ms),
            "replicas_over_time": watch.changes,
            "loads_over_time": [
                [round(look[name], 2) for name in ("load", "forecast_load", "bearable_load")] for look in looks[::-1]
            ],
        }
        write_json(
            {"benchmark": "from zero, live, vLLM", "commit": commit_id(), **result, "decisions": decisions[::-1]},
            RESULTS / "autoscaling_zero.json",
        )
        assert woken.status_code == 200
        assert applied.returncode == 0, applied.stderr
        assert set(outcomes(asked)) == {"whole"}, outcomes(asked)
        assert watch.counts == [0, 1, 2, 1, 0], watch.changes
        assert cluster.stop() == []
    finally:
        cluster.remove()
