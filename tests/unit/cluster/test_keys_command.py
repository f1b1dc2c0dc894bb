"""`baryon keys` and `baryon audit` while no cluster runs, and the address that is not opened without keys."""

import re
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from cluster.audited import actor, without_secrets
from cluster.cli import app
from cluster.commands.key_words import KeyWordError, duration_s, instant_s, key_id_of
from deployments.gateway.local_address import is_local

TOO_LARGE = "models: [{name: m, engine: simulated, profile: instant, cpus_per_replica: 1000000}]\n"


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BARYON_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def baryon(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def told(*arguments: str) -> Any:
    done = baryon(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return orjson.loads(done.output)


@pytest.mark.usefixtures("run_folder")
def test_a_key_is_shown_once_and_then_known_by_its_id() -> None:
    made = told("keys", "create", "--tenant", "acme", "--requests-per-minute", "60", "--model", "a", "--expires", "1d")
    assert re.fullmatch(r"baryon_[0-9a-f]{16}_[\w-]{43}", made["key"])
    for arguments in (("keys", "list"), ("keys", "list", "--all", "--json"), ("audit",), ("audit", "--json")):
        shown = baryon(*arguments).output
        assert made["id"] in shown
        assert made["key"][24:] not in shown
    (tenant,) = told("keys", "list")["tenants"]
    assert (tenant["requests_per_minute"], tenant["models"], tenant["tokens_per_day"]) == (60, ["a"], None)


@pytest.mark.usefixtures("run_folder")
def test_rotate_revoke_and_limit() -> None:
    first = told("keys", "create", "--tenant", "acme")
    second = told("keys", "rotate", first["id"], "--grace", "30m")
    assert second["replaces"] == first["id"]
    keys = {key["id"]: key for key in told("keys", "list")["keys"]}
    assert keys.keys() == {first["id"], second["id"]}
    assert keys[first["id"]]["expires_at_s"] - keys[second["id"]]["created_at_s"] == pytest.approx(1_800, abs=5)
    told("keys", "revoke", "baryon_" + first["id"])
    assert [key["id"] for key in told("keys", "list")["keys"]] == [second["id"]]
    third = told("keys", "rotate", second["id"], "--grace", "0")
    assert [key["id"] for key in told("keys", "list")["keys"]] == [third["id"]]
    changed = told("keys", "limit", "acme", "--concurrent", "3", "--priority", "-1", "--model", "m")
    assert (changed["concurrent_requests"], changed["priority"], changed["models"]) == (3, -1, ["m"])
    changed = told("keys", "limit", "acme", "--concurrent", "none", "--all-models")
    assert (changed["concurrent_requests"], changed["priority"], changed["models"]) == (None, -1, None)
    rows = told("audit")
    assert [row["action"] for row in rows][:3] == ["tenant.limit", "tenant.limit", "key.rotate"]
    assert {row["actor"] for row in rows} == {actor()}


@pytest.mark.usefixtures("run_folder")
def test_a_rotated_key_lives_as_long_as_the_old_one_was_made_for() -> None:
    def lives_s(key: Any) -> float:
        return float(key["expires_at_s"] - key["created_at_s"])

    day_s = 86_400
    first = told("keys", "create", "--tenant", "acme", "--expires", "90d")
    second = told("keys", "rotate", first["id"], "--grace", "1h")
    assert lives_s(second) == pytest.approx(90 * day_s, abs=60)
    assert lives_s(told("keys", "rotate", second["id"], "--expires", "7d")) == pytest.approx(7 * day_s, abs=60)
    again = told("keys", "rotate", first["id"], "--grace", "1h")
    assert again["expires_at_s"] is None, "the end that the first has by now is its grace's"
    assert told("keys", "rotate", again["id"])["expires_at_s"] is None
    assert [row["details"]["expires_at_s"] for row in told("audit") if row["action"] == "key.rotate"][-1] == (
        second["expires_at_s"]
    )


@pytest.mark.usefixtures("run_folder")
def test_text_is_shown_only_of_whom_it_was_switched_on_for_which_is_seen_and_audited() -> None:
    told("keys", "create", "--tenant", "acme")
    told("keys", "create", "--tenant", "open", "--show-text", "on")
    assert {one["name"]: one["show_text"] for one in told("keys", "list")["tenants"]} == {"acme": "off", "open": "on"}
    assert {"show", "text", "on", "off"} <= set(baryon("keys", "list").output.split())
    assert told("keys", "limit", "acme", "--show-text", "on")["show_text"] == "on"
    assert told("keys", "limit", "acme", "--priority", "1")["show_text"] == "on", "what is not named stays"
    assert told("keys", "limit", "acme", "--show-text", "off")["show_text"] == "off"
    off, _, on, created, *_ = told("audit")
    assert off["details"] == {"show_text": {"was": "on", "now": "off"}}
    assert on["details"] == {"show_text": {"was": "off", "now": "on"}}
    assert created["details"]["show_text"] == "on"
    assert baryon("keys", "limit", "acme", "--show-text", "yes").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "--tenant", "a b"), "a tenant's name has"),
        (("create", "--tenant", "anyone"), "another name"),
        (("create", "--tenant", "a\nb"), "a tenant's name has"),
        (("create", "--tenant", "\x1b[31mred"), "a tenant's name has"),
        (("create", "--tenant", "a" * 1_000_000), "a tenant's name has"),
        (("create", "--tenant", "a", "--model", "\x1b[2J"), "cannot be a model's name"),
        (("create", "--tenant", "a", "--model", "m\n"), "cannot be a model's name"),
        (("create", "--tenant", "a", "--model", "m" * 1_000_000), "cannot be a model's name"),
        (("create", "--tenant", "a", "--requests-per-minute", "1e30"), "neither a count"),
        (("create", "--tenant", "a", "--requests-per-minute", "NaN"), "neither a count"),
        (("create", "--tenant", "a", "--requests-per-minute", "-1"), "neither a count"),
        (("create", "--tenant", "a", "--tokens-per-day", "9" * 5000), "neither a count"),
        (("create", "--tenant", "a", "--expires", "soon"), "nor a date"),
        (("create", "--tenant", "a", "--expires", "2001-01-01"), "not in the future"),
        (("rotate", "0" * 16), "there is no key"),
        (("rotate", "0" * 16, "--grace", "1y"), "is not a time"),
        (("revoke", "0" * 16), "there is no key"),
        (("revoke", "all"), "named by its id"),
        (("limit", "nobody", "--priority", "1"), "there is no tenant"),
        (("limit", "nobody"), "nothing to change"),
        (("limit", "a", "--model", "m", "--all-models"), "exclude each other"),
    ],
)
@pytest.mark.usefixtures("run_folder")
def test_what_cannot_be_done_is_said_with_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    done = baryon("keys", *arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())


@pytest.mark.usefixtures("run_folder")
def test_limits_of_a_tenant_that_exists_are_not_changed_by_another_key() -> None:
    told("keys", "create", "--tenant", "acme")
    done = baryon("keys", "create", "--tenant", "acme", "--priority", "9")
    assert done.exit_code == 2
    assert "baryon keys limit" in done.output
    assert len(told("keys", "list")["keys"]) == 1


def test_a_file_that_cannot_be_used_is_named(run_folder: Path) -> None:
    told("keys", "create", "--tenant", "acme")
    (run_folder / "state.secret").unlink()
    done = baryon("keys", "list")
    assert done.exit_code == 1
    assert "state.secret" in done.output
    (run_folder / "state.sqlite").write_bytes(b"no database" * 100)
    assert baryon("keys", "list").exit_code == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example.com", ""])
def test_an_address_that_others_reach_is_not_opened_without_keys(tmp_path: Path, run_folder: Path, host: str) -> None:
    config = tmp_path / "b.yaml"
    config.write_text(f"gateway: {{host: '{host}'}}\n{TOO_LARGE}")
    done = baryon("up", str(config))
    assert done.exit_code == 2
    words = " ".join(done.output.split())
    assert "baryon keys create --tenant NAME" in words
    assert "listen on 127.0.0.1" in words
    assert not (run_folder / "state.sqlite").exists(), "nothing is made by looking"
    told("keys", "create", "--tenant", "acme")
    assert baryon("up", str(config)).exit_code == 3, "it goes on, and finds that the model does not fit"


@pytest.mark.usefixtures("run_folder")
def test_keys_are_made_where_the_configuration_has_its_state(tmp_path: Path) -> None:
    config = tmp_path / "b.yaml"
    config.write_text(f"gateway: {{require_keys: always}}\nstate: {{path: {tmp_path}/kept/s.sqlite}}\n{TOO_LARGE}")
    assert baryon("up", str(config)).exit_code == 2
    told("keys", "create", "--tenant", "acme")
    assert baryon("up", str(config)).exit_code == 2, "those are another cluster's"
    told("keys", "create", "--tenant", "acme", "--config", str(config))
    assert baryon("up", str(config)).exit_code == 3
    assert stat.S_IMODE((tmp_path / "kept" / "s.secret").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        *(
            (host, False)
            for host in ("0.0.0.0", "::", "10.0.0.1", "", "localhost.example.com", "127.0.0.1.example.com")
        ),
    ],
)
def test_which_addresses_are_local(host: str, local: bool) -> None:
    assert is_local(host) == local


def test_times_in_words() -> None:
    assert [duration_s(words) for words in ("0", "90s", "1.5h", "7d")] == [0, 90, 5_400, 604_800]
    assert instant_s("1h", 100.0) == 3_700
    assert key_id_of("baryon_0123456789abcdef_" + "x" * 43) == "0123456789abcdef"
    for words in ("", "h", "-1h", "1e3s", "infd", "٣h"):
        with pytest.raises(KeyWordError):
            duration_s(words)


def test_what_is_audited_of_a_configuration_has_no_secret() -> None:
    document = {
        "engine_args": {"hf_token": "s1", "max_num_batched_tokens": 9, "x-api-key": "s2", "tokenizer": "t"},
        "urls": ["https://me:s3@host/x", {"password": "s4"}],
    }
    hidden = without_secrets(document)
    assert not re.search("s[1-4]", str(hidden).replace("urls", ""))
    assert hidden["engine_args"]["max_num_batched_tokens"] == 9
    assert hidden["engine_args"]["tokenizer"] == "t"


@pytest.mark.usefixtures("run_folder")
def test_whether_a_tenants_personal_data_is_taken_out_is_said_shown_and_audited() -> None:
    told("keys", "create", "--tenant", "acme", "--privacy", "redact")
    told("keys", "create", "--tenant", "plain")
    assert {t["name"]: t["privacy"] for t in told("keys", "list")["tenants"]} == {"acme": "redact", "plain": "off"}
    assert re.search(r"acme\s.*\sredact\s", baryon("keys", "list").output)
    assert told("keys", "limit", "acme", "--privacy", "restore")["privacy"] == "restore"
    assert told("keys", "limit", "acme", "--priority", "3")["privacy"] == "restore"
    limited, changed, *_ = told("audit")
    assert limited["details"] == {"priority": {"was": 0, "now": 3}}
    assert (changed["action"], changed["subject"]) == ("tenant.limit", "acme")
    assert changed["details"] == {"privacy": {"was": "redact", "now": "restore"}}
    assert told("audit")[-1]["details"]["privacy"] == "redact"
    refused = baryon("keys", "limit", "acme", "--privacy", "on")
    assert refused.exit_code == 2
    assert "redact" in refused.output


@pytest.mark.usefixtures("run_folder")
def test_a_restored_backup_says_which_revoked_keys_are_good_again(tmp_path: Path) -> None:
    made = told("keys", "create", "--tenant", "acme")
    file = tmp_path / "backup.zip"
    assert baryon("backup", str(file)).exit_code == 0
    told("keys", "revoke", made["id"])
    done = baryon("restore", str(file), "--overwrite")
    assert done.exit_code == 0, done.output
    assert f"the key {made['id']} of acme; `baryon keys revoke {made['id']}` ends it" in done.output
    (row, *_) = told("audit")
    assert (row["actor"], row["action"], row["details"]) == (actor(), "state.restore", {"good_again": [made["id"]]})
