"""`baryon simulate routing` as a script and a person meet it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from cluster.simulator.policies.catalogue import POLICIES

SHORT = ("--duration-s", "10", "--replicas", "2", "--seeds", "2")
FIELDS = {
    "policy", "seed", "ttft_mean_ms", "ttft_p90_ms", "tpot_mean_ms", "e2e_mean_ms", "slo_attainment",
    "prefix_hit_rate", "requests",
}  # fmt: skip


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", "routing", *arguments], env={"COLUMNS": "200"})


def test_a_script_gets_a_row_for_each_policy_and_seed() -> None:
    done = simulate("--trace", "shared-prefix", "--policy", "baryon,round-robin", *SHORT, "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [(row["policy"], row["seed"]) for row in rows] == [
        ("baryon", 0), ("baryon", 1), ("round-robin", 0), ("round-robin", 1),
    ]  # fmt: skip
    assert all(row.keys() >= FIELDS for row in rows)
    assert all(row["requests"] > 20 and 0 <= row["slo_attainment"] <= 1 for row in rows)


def test_a_person_gets_a_table_with_every_policy(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    row = {"input_length": 1_000, "output_length": 20, "hash_ids": [1, 2]}
    trace.write_text("".join(json.dumps({"timestamp": n, **row}) + "\n" for n in range(0, 5_000, 100)))
    done = simulate("--trace", str(trace), "--profile", "qwen3-32b-h100-tp2", "--seeds", "1", "--speedup", "2")
    assert done.exit_code == 0, done.output
    assert all(policy in done.stdout for policy in POLICIES)
    assert "50 requests" in done.stdout


BAD = {
    "policy": (("--trace", "tiny-prompts", "--policy", "lmetrik"), ("lmetrik", "nearest: lmetric", "round-robin")),
    "profile": (("--trace", "tiny-prompts", "--profile", "llama-9b"), ("llama-9b", "llama-3.1-8b-h100-tp1")),
    "trace": (("--trace", "nowhere"), ("nowhere", "shared-prefix")),
    "speed-up": (("--trace", "tiny-prompts", "--speedup", "0"), ("--speedup", "above 0")),
    "not a number": (("--trace", "tiny-prompts", "--speedup", "nan"), ("--speedup", "above 0")),
    "replicas": (("--trace", "tiny-prompts", "--replicas", "0"), ("--replicas",)),
    "no requests": (("--trace", "tiny-prompts", "--duration-s", "0.000001"), ("no request", "--duration-s")),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_named_with_what_is_valid(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = simulate(*arguments, "--seeds", "1")
    assert done.exit_code == 2
    said = " ".join((done.stderr or done.output).split())
    assert all(word in said for word in words), said


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"timestamp": 0, "input_length": 9, "output_length": 1}\n{"timestamp": 1}\n')
    done = simulate("--trace", str(trace), "--policy", "round-robin", "--seeds", "2")
    assert done.exit_code == 2
    assert "trace.jsonl:2:" in "".join(done.stderr.split())
