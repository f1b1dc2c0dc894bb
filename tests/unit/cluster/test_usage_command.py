"""`baryon usage`, `backup` and `restore` of a cluster that does not run."""

import csv
import io
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from cluster.cli import app
from deployments.gateway.usage_counts import Counts, day_number
from deployments.usage_ledger import LEDGER, UsageLedger

DAY = day_number("2026-11-25")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BARYON_RUN_DIR", str(tmp_path))
    ledger = UsageLedger(tmp_path / LEDGER)
    told = [
        ((DAY, "acme", "chat"), Counts(2, 1, 30, 16, 7, 5, 2)),
        ((DAY + 1, "acme", "chat"), Counts(1, 1, 10, 0, 3)),
        ((DAY, 'b"quoted", ltd', "chat"), Counts(1, 1, 1, 0, 1)),
    ]
    ledger.add("g1", 1, told)
    ledger.close()
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_json_has_every_sum(folder: Path) -> None:
    rows = orjson.loads(run("usage", "--json", "--tenant", "acme", "--by", "tenant"))
    assert rows == [
        {
            "tenant": "acme",
            "requests": 3,
            "completed": 2,
            "prompt_tokens": 40,
            "cached_tokens": 16,
            "output_tokens": 10,
            "surplus_prompt_tokens": 5,
            "surplus_output_tokens": 2,
        }
    ]


def test_csv_is_read_back_as_it_was_whatever_a_tenant_is_called(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("usage", "--csv", "--from", "2026-11-25", "--to", "2026-11-25"))))
    assert [(row["day"], row["tenant"], row["output_tokens"]) for row in rows] == [
        ("2026-11-25", "acme", "7"),
        ("2026-11-25", 'b"quoted", ltd', "1"),
    ]


def test_the_table_shows_surplus_apart(folder: Path) -> None:
    text = run("usage", "--by", "model")
    assert "surplus" in text
    assert "7" in text.splitlines()[-1].split()


def test_a_day_and_every_number_are_whole_in_eighty_columns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    UsageLedger(folder / LEDGER).add(
        "g9",
        1,
        [((DAY, "a-tenant-of-some-length", "smollm2-135m-instruct"), Counts(99_999, 99_999, 9_999_999, 999_999))],
    )
    text = run("usage")
    assert "…" not in text
    assert all(whole in text for whole in ("2026-11-25", "99,999", "9,999,999", "999,999"))


def test_nothing_used_and_bad_questions_are_said_so(folder: Path) -> None:
    assert "nothing" in run("usage", "--tenant", "nobody")
    for wrong in (["--from", "yesterday"], ["--by", "colour"], ["--json", "--csv"]):
        assert CliRunner().invoke(app, ["usage", *wrong]).exit_code == 2
    (folder / LEDGER).unlink()
    assert CliRunner().invoke(app, ["usage"]).exit_code == 1


def test_a_backup_comes_back(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.zip"
    run("backup", str(file))
    assert CliRunner().invoke(app, ["backup", str(file)]).exit_code == 2
    assert file.stat().st_mode & 0o777 == 0o600
    before = run("usage", "--json")
    ledger = UsageLedger(folder / LEDGER)
    ledger.add("g1", 2, [((DAY, "late", "chat"), Counts(requests=1))])
    assert CliRunner().invoke(app, ["restore", str(file)]).exit_code == 1
    run("restore", str(file), "--overwrite")
    ledger.close()
    assert run("usage", "--json") == before
