"""A backup of state is whole while state writes, and restoring it overwrites nothing silently."""

import os
import sqlite3
import zipfile
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from deployments.gateway.tenants.api_key import fingerprint, new_api_key
from deployments.gateway.usage_counts import Counts
from deployments.key_changes import CreateKey, RevokeKey, RotateKey
from deployments.key_store import KeyStore
from deployments.revived_keys import RevivedKey
from deployments.state_backup import BackupError, backup, restore
from deployments.state_store import StateStore
from deployments.usage_ledger import LEDGER, UsageLedger, UsageQuery, read_sums, total


def add(ledger: UsageLedger, batch: int) -> None:
    ledger.add("g1", batch, [((20000, "a", "m"), Counts(requests=1))])


def requests_in(folder: Path) -> int:
    return total(read_sums(folder / LEDGER, UsageQuery())).requests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a state that has one model and has counted one request."""
    made = tmp_path / "run"
    store = StateStore(made / "state.sqlite")
    store.replace_catalogue([{"name": "m"}])
    store.close()
    ledger = UsageLedger(made / LEDGER)
    add(ledger, 1)
    ledger.close()
    return made


def test_a_backup_of_a_running_state_has_all_that_it_had_confirmed(folder: Path, tmp_path: Path) -> None:
    ledger = UsageLedger(folder / LEDGER)
    add(ledger, 2)
    made = backup(folder / "state.sqlite")
    add(ledger, 3)
    restored = restore(made, tmp_path / "elsewhere" / "state.sqlite", overwrite=False, actor="me")
    assert requests_in(tmp_path / "elsewhere") == 2
    assert requests_in(folder) == 3
    assert restored.kept == ()
    assert StateStore(tmp_path / "elsewhere" / "state.sqlite").catalogue() == [{"name": "m"}]
    assert {path.stat().st_mode & 0o777 for path in restored.files} == {0o600}
    ledger.close()


def test_newer_data_is_not_overwritten_unless_asked_and_then_kept_aside(folder: Path) -> None:
    made = backup(folder / "state.sqlite")
    ledger = UsageLedger(folder / LEDGER)
    add(ledger, 2)
    ledger.close()
    os.utime(folder / LEDGER)
    with pytest.raises(BackupError, match="--overwrite"):
        restore(made, folder / "state.sqlite", overwrite=False, actor="me")
    assert requests_in(folder) == 2
    restored = restore(made, folder / "state.sqlite", overwrite=True, actor="me")
    assert requests_in(folder) == 1
    aside = next(path for path in restored.kept if path.name.startswith(LEDGER))
    assert total(read_sums(aside, UsageQuery())).requests == 2


def test_what_a_killed_state_left_in_its_log_is_kept_aside_with_it(folder: Path) -> None:
    made = backup(folder / "state.sqlite")
    ledger = UsageLedger(folder / LEDGER)
    add(ledger, 2)
    assert (folder / f"{LEDGER}-wal").stat().st_size > 0
    restored = restore(made, folder / "state.sqlite", overwrite=True, actor="me")
    ledger.close()
    assert requests_in(folder) == 1
    aside = next(path for path in restored.kept if path.name.startswith(LEDGER))
    assert total(read_sums(aside, UsageQuery())).requests == 2


def test_a_state_file_of_another_name_comes_back_under_the_name_asked_for(folder: Path, tmp_path: Path) -> None:
    (folder / "state.sqlite").rename(folder / "my-state.db")
    restore(backup(folder / "my-state.db"), tmp_path / "new" / "s.sqlite", overwrite=False, actor="me")
    assert StateStore(tmp_path / "new" / "s.sqlite").catalogue() == [{"name": "m"}]
    assert requests_in(tmp_path / "new") == 1


def damaged(made: bytes, name: str, content: bytes) -> bytes:
    written = BytesIO()
    with zipfile.ZipFile(BytesIO(made)) as old, zipfile.ZipFile(written, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, content if entry == name else old.read(entry))
    return written.getvalue()


def test_a_damaged_backup_changes_nothing(folder: Path) -> None:
    made = backup(folder / "state.sqlite")
    for archive in (
        b"",
        b"PK nonsense",
        made[: len(made) // 2],
        damaged(made, LEDGER, b"x"),
        damaged(made, LEDGER, b""),
    ):
        with pytest.raises(BackupError, match="damaged"):
            restore(archive, folder / "state.sqlite", overwrite=True, actor="me")
    with pytest.raises(BackupError, match="no backup"):
        restore(damaged(made, "manifest.json", b'{"format":"x"}'), folder / "state.sqlite", overwrite=True, actor="me")
    assert requests_in(folder) == 1


def test_a_damaged_state_is_not_backed_up_as_if_it_were_whole(folder: Path, tmp_path: Path) -> None:
    (folder / LEDGER).write_bytes(b"SQLite format 3\0" + os.urandom(8192))
    with pytest.raises(BackupError):
        backup(folder / "state.sqlite")
    with pytest.raises(BackupError, match="no state"):
        backup(tmp_path / "nothing" / "state.sqlite")


def test_a_backup_names_no_file_outside(folder: Path, tmp_path: Path) -> None:
    made = backup(folder / "state.sqlite")
    with zipfile.ZipFile(BytesIO(made)) as archive:
        manifest = archive.read("manifest.json").replace(LEDGER.encode(), b"../escaped.sqlite")
        content = archive.read(LEDGER)
    written = BytesIO()
    with zipfile.ZipFile(BytesIO(made)) as old, zipfile.ZipFile(written, "w") as new:
        new.writestr("manifest.json", manifest)
        new.writestr("../escaped.sqlite", content)
        new.writestr("state", old.read("state"))
    with pytest.raises(BackupError, match="outside"):
        restore(written.getvalue(), tmp_path / "new" / "state.sqlite", overwrite=True, actor="me")
    assert not (tmp_path / "escaped.sqlite").exists()


def test_the_copy_is_a_database_of_its_own(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(BytesIO(backup(folder / "state.sqlite"))) as archive:
        (tmp_path / "copy.sqlite").write_bytes(archive.read(LEDGER))
    with sqlite3.connect(tmp_path / "copy.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def key_of(store: KeyStore, tenant: str) -> str:
    key_id, key = new_api_key()
    store.carry_out(CreateKey(tenant, key_id, fingerprint(key.encode())), "me")
    return key_id


def test_keys_that_a_backup_makes_good_again_are_named(folder: Path) -> None:
    state = folder / "state.sqlite"
    with closing(KeyStore(state)) as store:
        revoked, rotated, good = (key_of(store, tenant) for tenant in ("a", "b", "c"))
        gone_before = key_of(store, "d")
        store.carry_out(RevokeKey(gone_before), "me")
        made = backup(state)
        store.carry_out(RevokeKey(revoked), "me")
        new_id, new = new_api_key()
        store.carry_out(RotateKey(rotated, new_id, fingerprint(new.encode()), grace_s=60.0), "me")
    restored = restore(made, state, overwrite=True, actor="me")
    assert restored.revived == (RevivedKey(revoked, "a"), RevivedKey(rotated, "b"))
    with closing(KeyStore(state)) as store:
        listed = store.keys()
    assert {key["id"] for key in listed if key["revoked_at_s"] is None} == {revoked, rotated, good}


def test_of_a_damaged_state_nobody_can_tell_which_keys_were_revoked(folder: Path) -> None:
    state = folder / "state.sqlite"
    made = backup(state)
    for beside in ("-wal", "-shm"):
        state.with_name(state.name + beside).unlink(missing_ok=True)
    state.write_bytes(b"not a database at all" * 100)
    assert restore(made, state, overwrite=True, actor="me").revived is None
    assert restore(made, folder / "elsewhere" / "state.sqlite", overwrite=False, actor="me").revived == ()
