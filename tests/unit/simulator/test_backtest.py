"""A usage log as a workload, and `baryon backtest` as a script, a person and someone careless meet it."""

import json
import sqlite3
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from cluster.simulator.policies.baryon import Baryon
from cluster.simulator.scaling.protocol import Counts, Objective
from cluster.simulator.scaling.runs import Run, row_of
from cluster.simulator.scaling.usage import Recorded, summary_of, workload_of
from cluster.simulator.scenarios import SCENARIOS
from cluster.simulator.simulation import Fleet, simulate
from cluster.simulator.summary import summarise
from cluster.simulator.trace_request import TraceError
from deployments.gateway.routing.score import Slo
from deployments.usage_log import UsageLog
from engine.simulated.profiles import get_profile

AT_S = 1_800_000_000.0
PROFILE = "llama-3.1-8b-h100-tp1"
EARLY, LATE = [(400, 0, 20)] * 16, [(2_000, 1_600, 60)] * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten busy minutes, ten calm ones, two hours in which nothing was recorded, ten busy ones, of other lengths."""
    path = tmp_path / "usage.sqlite"
    log = UsageLog(path, now_s=lambda: AT_S)
    for number in range(120):
        log.append(AT_S + 10 * number, 10, "chat", 40 if number < 60 else number % 2, EARLY if number < 60 else ())
    for number in range(60):
        log.append(AT_S + 8_400 + 10 * number, 10, "chat", 20, LATE)
        log.append(AT_S + 8_400 + 10 * number, 10, "mute", 5, ())
        log.append(AT_S + 8_400 + 10 * number, 10, "idle", 0, ())
    log.close()
    return path


def recorded(path: Path, model: str = "chat") -> Recorded:
    return Recorded(path, model, AT_S, AT_S + 9_000)


def test_every_bin_has_its_own_number_of_requests_and_what_was_not_recorded_is_left_out(path: Path) -> None:
    requests = list(recorded(path).requests(1))
    arrived = Counter(int(request.arrived_ms // 10_000) for request in requests)
    assert [arrived[number] for number in range(180)] == [40] * 60 + [0, 1] * 30 + [20] * 60
    assert max(arrived) < 180
    assert [r.arrived_ms for r in requests] == sorted(r.arrived_ms for r in requests)


def test_lengths_are_those_of_the_time_and_hits_as_many_as_recorded(path: Path) -> None:
    requests = list(recorded(path).requests(1))
    early = [r for r in requests if r.arrived_ms < 1_000_000]
    late = [r for r in requests if r.arrived_ms > 1_300_000]
    assert {(r.input_tokens, r.output_tokens, len(r.blocks)) for r in early} == {(400, 20, 0)}
    assert {(r.input_tokens, r.output_tokens, len(r.blocks)) for r in late} == {(2_000, 60, 100)}


def test_lengths_follow_the_distribution_that_was_sampled(tmp_path: Path) -> None:
    source, path = Random(4), tmp_path / "usage.sqlite"
    log = UsageLog(path, now_s=lambda: AT_S)
    told = []
    for number in range(200):
        sampled = [(max(16, round(source.lognormvariate(7, 0.8))), 0, source.randrange(1, 400)) for _ in range(16)]
        told += sampled
        log.append(AT_S + 10 * number, 10, "chat", 30, sampled)
    played = list(recorded(path).requests(2))
    for level in (0.1, 0.5, 0.9, 0.99):
        for of_played, of_told in (([r.input_tokens for r in played], [p for p, _, _ in told]),
                                   ([r.output_tokens for r in played], [o for _, _, o in told])):  # fmt: skip
            wanted = sorted(of_told)[int(level * len(of_told))]
            assert sorted(of_played)[int(level * len(of_played))] == pytest.approx(wanted, rel=0.1)


def test_seeds_differ_in_moments_and_not_in_counts(path: Path) -> None:
    one, same, other = (list(recorded(path).requests(seed)) for seed in (1, 1, 2))
    assert one == same
    assert len(one) == len(other)
    assert [r.arrived_ms for r in one] != [r.arrived_ms for r in other]


def test_what_was_recorded_is_summed_up(path: Path) -> None:
    summary = summary_of(recorded(path))
    assert (summary.seconds, summary.requests) == (1_800, 60 * 40 + 30 + 60 * 20)
    assert summary.prompt_tokens.mean == pytest.approx(1_200)
    assert summary.hit_rate == pytest.approx(1_600 / 2_400)
    assert [summary.rates[minute] for minute in (0, 9, 10, 19, 20, 29)] == [4, 4, 0.05, 0.05, 2, 2]
    assert len(summary.rates) == 30


@pytest.mark.parametrize(("model", "words"), [("mute", "how long"), ("idle", "not one request"), ("none", "not one")])
def test_a_log_of_which_nothing_can_be_played_says_so(path: Path, model: str, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        summary_of(recorded(path, model))


@pytest.mark.slow
def test_played_to_as_many_replicas_it_comes_to_what_was_recorded(tmp_path: Path) -> None:
    """What happened is another simulation, of a trace with 150 prefixes of its own."""
    slo, profile, scenario = Slo(2_000, 100), get_profile("llama-3.1-70b-h100-tp4"), SCENARIOS["shared-prefix"]
    happened = list(simulate(scenario.requests(1), Fleet(profile, 8, hash_tokens=scenario.block_tokens), Baryon, 1))
    path, source = tmp_path / "usage.sqlite", Random(1)
    log = UsageLog(path, now_s=lambda: AT_S)
    last_ms = max(request.finished_ms for request in happened)
    for number in range(int(last_ms // 10_000) + 1):
        finished = [r for r in happened if int(r.finished_ms // 10_000) == number]
        lengths = [(r.prompt_tokens, r.cached_tokens, r.output_tokens) for r in finished]
        arrived = sum(int(r.arrived_ms // 10_000) == number for r in happened)
        log.append(AT_S + 10 * number, 10, "chat", arrived, source.sample(lengths, min(16, len(lengths))))
    again = recorded(path)
    replayed = list(simulate(again.requests(1), Fleet(profile, 8, hash_tokens=again.block_tokens), Baryon, 1))
    before, after = summarise("before", 1, happened, slo), summarise("after", 1, replayed, slo)
    assert after.requests == before.requests
    assert after.prefix_hit_rate == pytest.approx(before.prefix_hit_rate, abs=0.05)
    assert after.tpot_mean_ms == pytest.approx(before.tpot_mean_ms, rel=0.05)
    assert after.slo_attainment == pytest.approx(before.slo_attainment, abs=0.02)


def test_a_run_plays_all_of_it_once(path: Path) -> None:
    summary = summary_of(recorded(path))
    workload = workload_of(
        recorded(path), summary, PROFILE, Objective(ttft_ms=2_000, tpot_ms=100), Counts(min=1, max=4, initial=2), 30
    )
    row = row_of(Run("oracle", lambda _: Steady(), workload, 1))
    assert (row.requests, row.failed) == (summary.requests, 0)
    assert row.gpu_hours == pytest.approx(2 * 1_800 / 3_600)
    assert sum(seconds for seconds, _, _ in workload.protocol.segments) == pytest.approx(summary.seconds)


class Steady:
    def initial(self) -> int:
        return 2

    def desired(self, seen: object) -> int:
        return 2

    def ready(self, cold_start_s: float) -> None: ...


def backtest(*arguments: str, run: Path | None = None, columns: int = 80) -> Result:
    environment = {"COLUMNS": str(columns), "BARYON_RUN_DIR": str(run)} if run else {"COLUMNS": str(columns)}
    return CliRunner().invoke(app, ["backtest", *arguments], env=environment)


PLAIN = ("--model", "chat", "--profile", PROFILE)


@pytest.mark.slow
def test_a_person_gets_a_table_of_eighty_columns_and_is_told_what_is_missing(path: Path) -> None:
    done = backtest("--from", "usage-log", *PLAIN, "--policy", "baryon,llm-d-slo-keda,oracle", run=path.parent)
    assert done.exit_code == 0, done.output
    for words in ("SLO met %", "GPU hours", "flaps", "llm-d-slo-keda", "3,630 requests", "left out", "2.0 h"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.slow
def test_a_script_gets_a_row_for_each_policy_and_what_was_played(path: Path) -> None:
    done = backtest("--from", str(path), *PLAIN, "--policy", "static-peak,static-mean", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [row["policy"] for row in document["rows"]] == ["static-peak", "static-mean"]
    assert all(row["requests"] == document["requests"] == 3_630 for row in document["rows"])
    assert document["recorded_s"] == 1_800
    assert all(0 < row["slo_attainment"] <= 1 and row["gpu_hours"] > 0 for row in document["rows"])


@pytest.mark.slow
def test_a_stricter_slo_costs_no_less_and_the_last_part_alone_is_less(path: Path) -> None:
    def rows(*arguments: str) -> dict[str, float]:
        done = backtest("--from", str(path), *PLAIN, "--policy", "oracle", "--json", *arguments)
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout)["rows"][0])

    loose, strict = rows(), rows("--ttft-slo-ms", "60", "--tpot-slo-ms", "7.95")
    assert strict["gpu_hours"] > loose["gpu_hours"]
    assert rows("--days", "0.00694")["requests"] < 0.4 * loose["requests"]


def test_hardware_without_a_gpu_and_without_a_cost_is_played_too(path: Path) -> None:
    for profile, words in (("cpu-135m", "no GPU"), ("instant", "SLO met %")):
        slo = ("--ttft-slo-ms", "60000", "--tpot-slo-ms", "2000")
        done = backtest("--from", str(path), "--model", "chat", "--profile", profile, "--policy", "oracle", *slo)
        assert done.exit_code == 0, done.output
        assert words in done.stdout


BAD = {
    "model": (("--model", "chaat"), ("no model 'chaat'", "chat, idle, mute")),
    "markup": (("--model", "[red]x"), ("'[red]x'",)),
    "profile": (("--profile", "b300"), ("b300", PROFILE, "profiles.json", "tests.benchmarks.validation")),
    "policy": (("--policy", "keda"), ("--policy", "nearest: keda-waiting")),
    "not a number": (("--ttft-slo-ms", "nan"), ("--ttft-slo-ms", "above 0")),
    "no SLO": (("--tpot-slo-ms", "0"), ("--tpot-slo-ms", "above 0")),
    "an SLO nobody keeps": (("--ttft-slo-ms", "1"), ("no number of replicas", "TTFT 1 ms", PROFILE)),
    "days": (("--days", "-1"), ("--days", "above 0")),
    "cold start": (("--cold-start-s", "inf"), ("--cold-start-s", "below a day")),
    "limits": (("--min", "5", "--max", "4"), ("min (5)", "max (4)")),
    "initial": (("--initial", "101"), ("initial (101)", "max (100)")),
    "negative": (("--min", "-1"), ("--min", "greater than or equal to 0")),
    "no lengths": (("--model", "mute"), ("mute", "how long")),
    "no requests": (("--model", "idle"), ("idle", "not one request")),
    "no file": (("--from", "nowhere.sqlite"), ("nowhere.sqlite", "no such file")),
    "a folder": (("--from", "/"), ("no such file",)),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_named(arguments: tuple[str, ...], words: tuple[str, ...], path: Path) -> None:
    done = backtest("--from", str(path), *PLAIN, "--policy", "oracle", *arguments)
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2, done.output
    assert said.startswith("error:")
    assert all(word in said for word in words), said


def test_a_machine_on_which_no_cluster_ran_says_so(tmp_path: Path) -> None:
    done = backtest("--from", "usage-log", *PLAIN, run=tmp_path / "run")
    assert done.exit_code == 2
    assert "no cluster has recorded usage" in " ".join(done.stderr.split())


def test_a_file_of_another_kind_or_a_damaged_one_is_named(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "state.sqlite"
    sqlite3.connect(other).execute("CREATE TABLE model (name TEXT)").connection.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for file in (other, path):
        done = backtest("--from", str(file), *PLAIN)
        assert done.exit_code == 2, done.output
        assert file.name in "".join(done.stderr.split())
