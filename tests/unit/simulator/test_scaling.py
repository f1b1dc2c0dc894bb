"""An autoscaling run: nothing is lost as replicas come and go, time is counted, every policy keeps its limits."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.checked_yaml import ConfigError
from cluster.cli import app
from cluster.simulator.scaling.catalogue import SCALERS
from cluster.simulator.scaling.protocol import Protocol, load_protocol
from cluster.simulator.scaling.run import ScalingRun, Site, flaps
from cluster.simulator.scaling.snapshot import Snapshot
from cluster.simulator.scaling.workload import Workload

STEP = {
    "profile": "llama-3.1-8b-h100-tp1",
    "input_tokens": {"mean": 1_200, "cv": 1.0},
    "output_tokens": {"mean": 100, "cv": 0.5},
    "prefix_hit_rate": 0.3,
    "slo": {"ttft_ms": 2_000, "tpot_ms": 100},
    "replicas": {"min": 1, "max": 4, "initial": 1},
    "cold_start_s": 20,
    "segments": [[30, 3, 3], [5, 3, 25], [45, 25, 25], [30, 3, 3]],
    "seeds": [1],
}


def protocol(**changed: object) -> Protocol:
    return Protocol.model_validate({**STEP, **changed})


class Script:
    """Wants what it is told for each tick, and keeps what it saw."""

    def __init__(self, counts: list[int], site: Site) -> None:
        self.counts, self.site = counts, site
        self.seen: list[Snapshot] = []
        self.cold_starts: list[float] = []

    def initial(self) -> int:
        return self.counts[0]

    def desired(self, seen: Snapshot) -> int:
        self.seen.append(seen)
        return self.counts[min(len(self.seen), len(self.counts) - 1)]

    def ready(self, cold_start_s: float) -> None:
        self.cold_starts.append(cold_start_s)


def scripted(counts: list[int], **changed: object) -> tuple[ScalingRun, Script]:
    made: list[Script] = []

    def factory(site: Site) -> Script:
        made.append(Script(counts, site))
        return made[0]

    run = ScalingRun(Workload(protocol(**changed)), factory, 1)
    return run, made[0]


def test_every_request_ends_whatever_replicas_do() -> None:
    asked = len(list(protocol().requests(1)))
    run, script = scripted([1, 4, 4, 1, 3, 1] * 7)
    row = run.row("script")
    assert (row.requests, row.failed) == (asked, 0)
    assert script.seen[-1].now_s == 110
    assert sum(len(seen.began) for seen in script.seen) <= asked


def test_without_any_replica_requests_wait_for_the_first() -> None:
    run, script = scripted([0] * 10 + [1] * 50, replicas={"min": 0, "max": 4, "initial": 0}, segments=[[120, 1, 1]])
    row = run.row("script")
    assert row.failed == 0
    assert max(seen.unplaced_requests for seen in script.seen) > 30
    assert script.seen[9].running == 0
    assert row.ttft_p99_ms > 50_000


def test_a_replica_serves_a_cold_start_after_it_was_asked_for_and_is_paid_from_then() -> None:
    run, script = scripted([1, 1, 2], segments=[[100, 1, 1]])
    row = run.row("script")
    assert script.cold_starts == [20, 20], "the first one's start is known, too"
    assert [seen.running for seen in script.seen[:8]] == [1, 1, 1, 1, 1, 2, 2, 2]
    assert row.replicas_mean == pytest.approx((100 + 90) / 100)
    assert row.gpu_hours == pytest.approx(190 / 3600)
    assert (row.actions, row.flaps) == (1, 0)


def test_one_that_leaves_finishes_first_and_gets_nothing_new() -> None:
    run, script = scripted([2] * 10 + [1], segments=[[100, 5, 5]], output_tokens={"mean": 1_000, "cv": 0.2})
    assert run.row("script").failed == 0
    leaving = [seen for seen in script.seen if seen.leaving]
    assert leaving
    assert all(seen.running == 1 for seen in leaving)


def test_flaps_are_changes_of_direction_that_come_soon() -> None:
    assert flaps([(0, 2), (10, -1), (200, 1)], 50) == 1
    assert flaps([(0, 1), (10, 1), (20, 3)], 50) == 0


@pytest.mark.parametrize("policy", [name for name in SCALERS if not name.startswith("ray-serve") or name.endswith("8")])
def test_every_policy_stays_within_the_limits_and_serves_all(policy: str) -> None:
    row = ScalingRun(Workload(protocol()), SCALERS[policy], 1).row(policy)
    assert row.failed == 0
    assert 1 <= row.replicas_mean <= row.replicas_most <= 5
    assert 0.2 < row.slo_attainment <= 1


def test_lengths_and_rates_are_what_the_protocol_says() -> None:
    steady = protocol(segments=[[400, 20, 20], [400, 0, 20]], input_tokens={"mean": 1_000, "cv": 0.6})
    requests = list(steady.requests(3))
    early = [request for request in requests if request.arrived_ms < 400_000]
    assert len(early) == pytest.approx(8_000, rel=0.05)
    assert len(requests) - len(early) == pytest.approx(4_000, rel=0.07)
    assert sum(r.input_tokens for r in requests) / len(requests) == pytest.approx(1_000, rel=0.05)
    assert all(16 <= r.input_tokens <= 4_000 for r in requests)
    shared_tokens = sum(16 * len(r.blocks) for r in requests)
    assert shared_tokens / sum(r.input_tokens for r in requests) == pytest.approx(0.3, abs=0.01)
    longest = max(requests, key=lambda r: r.input_tokens).blocks
    assert all(r.blocks == longest[: len(r.blocks)] for r in requests)


BAD = {
    "typo": ({"cold_start": 3}, "did you mean cold_start_s"),
    "counts": ({"replicas": {"min": 5, "max": 4, "initial": 4}}, "min (5)"),
    "segment": ({"segments": [[0, 1, 1]]}, "seconds above 0"),
    "length": ({"input_tokens": {"mean": 0, "cv": 1}}, "input_tokens.mean"),
}


@pytest.mark.parametrize(("changed", "words"), BAD.values(), ids=BAD)
def test_a_protocol_that_cannot_be_is_refused_with_its_line(
    changed: dict[str, object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps({**STEP, **changed}, indent=1))
    with pytest.raises(ConfigError) as error:
        load_protocol(path)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{path}:")


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", "autoscaling", *arguments], env={"COLUMNS": "200"})


def test_a_script_gets_a_row_for_each_policy_and_a_person_a_table(tmp_path: Path) -> None:
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps(STEP))
    done = simulate("--protocol", str(path), "--policy", "baryon,oracle", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [row["policy"] for row in rows] == ["baryon", "oracle"]
    wanted = {"seed", "slo_attainment", "goodput_rps", "gpu_hours", "replicas_mean", "actions", "flaps"}
    assert all(wanted <= row.keys() for row in rows)
    table = simulate("--protocol", str(path), "--policy", "static-mean")
    assert "static-mean" in table.stdout
    assert "SLO met %" in table.stdout


def test_a_trace_takes_the_place_of_the_segments(tmp_path: Path) -> None:
    path, trace = tmp_path / "test.yaml", tmp_path / "trace.jsonl"
    path.write_text(json.dumps(STEP))
    row = {"input_length": 1_000, "output_length": 20, "hash_ids": [1, 2]}
    trace.write_text("".join(json.dumps({"timestamp": n, **row}) + "\n" for n in range(0, 60_000, 100)))
    done = simulate("--protocol", str(path), "--trace", str(trace), "--policy", "oracle", "--speedup", "2", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["requests"] == 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "keda-waitin"), "nearest: keda-waiting"),
        (("--trace", "nowhere"), "nowhere"),
        (("--speedup", "0"), "--speedup"),
    ],
)
def test_bad_input_is_named(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps(STEP))
    done = simulate("--protocol", str(path), *arguments)
    assert done.exit_code == 2
    assert words in " ".join((done.stderr or done.output).split())
    missing = simulate("--protocol", str(tmp_path / "none.yaml"))
    assert missing.exit_code == 2
    assert "none.yaml" in "".join((missing.stderr or missing.output).split())


def test_a_model_fifty_times_slower_than_taken_for_granted_gets_its_replicas() -> None:
    """An engine on a CPU: 1.1 requests a second keep the SLO on one replica."""
    slow = protocol(
        profile="cpu-135m",
        input_tokens={"mean": 90, "cv": 0.1},
        output_tokens={"mean": 40, "cv": 1.0},
        prefix_hit_rate=0.0,
        slo={"ttft_ms": 2_000, "tpot_ms": 100},
        replicas={"min": 1, "max": 8, "initial": 1},
        cold_start_s=5,
        segments=[(60, 0.5, 0.5), (120, 0.5, 4.0), (120, 4.0, 4.0)],
    )
    row = ScalingRun(Workload(slow), SCALERS["baryon"], 1).row("baryon")
    assert row.replicas_most >= 4
    assert row.slo_attainment > 0.7
