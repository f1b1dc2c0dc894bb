"""Keys on the disk: nothing there lets anybody in, and nobody can change them without a trace."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.audit_log import differences
from deployments.cluster_secret import cluster_secret, secret_path
from deployments.gateway.tenants.api_key import fingerprint, new_api_key
from deployments.gateway.tenants.keyring import Keyring
from deployments.key_administration import KeyRefused
from deployments.key_changes import CreateKey, Refused, RevokeKey, SetLimits
from deployments.key_store import KeyStore, SecretLost
from deployments.tenant_registry import TenantRegistry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "state.sqlite"


def created(store: KeyStore, tenant: str = "acme") -> str:
    key_id, key = new_api_key()
    store.carry_out(CreateKey(tenant, key_id, fingerprint(key.encode())), "me@here")
    return key


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_neither_a_key_nor_its_fingerprint_is_on_the_disk(path: Path) -> None:
    store = KeyStore(path)
    key = created(store)
    written = all_bytes(path.parent)
    assert key.split("_")[1].encode() in written, "the id is"
    assert key[24:].encode() not in written
    assert fingerprint(key.encode()) not in written
    assert fingerprint(key.encode()).hex().encode() not in written


def test_state_and_secret_are_readable_by_their_owner_only(path: Path) -> None:
    created(KeyStore(path))
    assert {p.stat().st_mode & 0o077 for p in path.parent.iterdir()} == {0}
    assert path.parent.stat().st_mode & 0o077 == 0


def test_keys_are_good_after_a_restart(path: Path) -> None:
    store = KeyStore(path)
    key = created(store)
    store.close()
    keyring = Keyring()
    keyring.adopt(KeyStore(path).page_after(0, "e"))
    tenant = keyring.tenant_of(key.encode(), 0.0)
    assert tenant is not None
    assert tenant.name == "acme"


@pytest.mark.parametrize(("setting", "on"), [("privacy", "redact"), ("show_text", "on")])
def test_a_file_of_an_earlier_version_has_its_tenants_with_nothing_switched_on(
    path: Path, setting: str, on: str
) -> None:
    store = KeyStore(path)
    key = created(store)
    store.close()
    with sqlite3.connect(path) as old:
        old.execute(f"ALTER TABLE tenant DROP COLUMN {setting}")
    store = KeyStore(path)
    assert [(tenant.privacy, tenant.show_text) for tenant in store.tenants()] == [("off", "off")]
    store.carry_out(SetLimits("acme", {setting: on}), "me@here")
    keyring = Keyring()
    keyring.adopt(store.page_after(0, "e"))
    tenant = keyring.tenant_of(key.encode(), 0.0)
    assert tenant is not None
    assert getattr(tenant, setting) == on
    (row, *_) = store.audit(1)
    assert (row["action"], row["details"]) == ("tenant.limit", {setting: {"was": "off", "now": on}})


@pytest.mark.parametrize("what", ["missing", "another one"])
def test_a_lost_secret_is_said_and_not_replaced(path: Path, what: str) -> None:
    store = KeyStore(path)
    created(store)
    store.close()
    right = secret_path(path).read_bytes()
    secret_path(path).unlink()
    if what == "another one":
        cluster_secret(path)
    with pytest.raises(SecretLost, match=what):
        KeyStore(path)
    assert secret_path(path).exists() == (what == "another one")
    secret_path(path).write_bytes(right)
    assert KeyStore(path).keys_exist()


def test_two_that_make_the_secret_at_once_have_the_same(path: Path) -> None:
    path.parent.mkdir()
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: cluster_secret(path).pepper, range(8)))
    assert len(made) == 1
    assert [p.name for p in path.parent.iterdir()] == [secret_path(path).name]


def test_a_refused_change_leaves_nothing_behind(path: Path) -> None:
    store = KeyStore(path)
    key = created(store)
    before = (store.revision, store.keys(), store.tenants(), store.audit(100))
    key_id, other = new_api_key()
    refused = [
        CreateKey("anyone", key_id, fingerprint(other.encode())),
        CreateKey("acme", key_id, fingerprint(other.encode()), settings={"priority": 3}),
        CreateKey("new", key.split("_")[1], fingerprint(other.encode())),
        RevokeKey("0" * 16),
        SetLimits("nobody", {"priority": 1}),
    ]
    for change in refused:
        with pytest.raises(KeyRefused):
            store.carry_out(change, "me@here")
    assert (store.revision, store.keys(), store.tenants(), store.audit(100)) == before


def test_the_audit_log_says_who_did_what_and_cannot_be_changed(path: Path) -> None:
    store = KeyStore(path, lambda: 5.0)
    key_id = created(store).split("_")[1]
    store.carry_out(SetLimits("acme", {"priority": 2, "models": ["m"], "tokens_per_day": None}), "you@there")
    store.carry_out(RevokeKey(key_id), "me@here")
    store.carry_out(RevokeKey(key_id), "me@here")
    rows = [(row["actor"], row["action"], row["subject"]) for row in store.audit(10)]
    assert rows == [
        ("me@here", "key.revoke", key_id),
        ("you@there", "tenant.limit", "acme"),
        ("me@here", "key.create", key_id),
    ], "and what changed nothing is no change"
    assert store.audit(10)[1]["details"] == {
        "models": {"was": None, "now": ["m"]},
        "priority": {"was": 0, "now": 2},
    }
    with sqlite3.connect(path) as other:
        for statement in (
            "UPDATE audit SET actor = 'x'",
            "DELETE FROM audit",
            "INSERT OR REPLACE INTO audit SELECT * FROM audit",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
                other.execute(statement)


def test_a_configuration_is_one_row_with_what_changed(path: Path) -> None:
    store = KeyStore(path)
    first = {"gateway": {"port": 1}, "models": {"a": {"slo": {"ttft_ms": 1}}}}
    store.note_config(first, "me")
    store.note_config(first, "me")
    store.note_config({"gateway": {"port": 1}, "models": {"a": {"slo": {"ttft_ms": 2}}, "b": {}}}, "you")
    newest, oldest = store.audit(10)
    assert newest["details"] == {"models.a.slo.ttft_ms": {"was": 1, "now": 2}, "models.b": {"was": None, "now": {}}}
    assert (newest["actor"], oldest["actor"]) == ("you", "me")


def test_what_differs_is_named() -> None:
    assert differences({"a": 1, "b": {"c": [1]}}, {"a": 1, "b": {"c": [2]}}) == {"b.c": {"was": [1], "now": [2]}}


async def test_a_watcher_hears_of_a_change_at_once_and_of_one_in_the_file_soon(path: Path) -> None:
    registry = TenantRegistry(path)
    known = (await registry.watch("")).version
    waiting = asyncio.create_task(registry.watch(known))
    await asyncio.sleep(0)
    key_id, key = new_api_key()
    assert not isinstance(await registry.change(CreateKey("acme", key_id, fingerprint(key.encode())), "me"), Refused)
    async with asyncio.timeout(0.5):
        page = await waiting
    assert [row[0] for row in page.keys] == [key_id]
    waiting = asyncio.create_task(registry.watch(page.version))
    await asyncio.sleep(0)
    created(KeyStore(path), "other")
    async with asyncio.timeout(1.9):
        page = await waiting
    assert [row[0] for row in page.tenants] == ["other"]
    assert isinstance(await registry.change(RevokeKey("0" * 16), "me"), Refused)


async def test_a_version_of_another_process_begins_anew(path: Path) -> None:
    registry = TenantRegistry(path)
    created(KeyStore(path))
    version = (await registry.watch("")).version
    page = await TenantRegistry(path).watch(version)
    assert page.begins_anew
    assert len(page.keys) == 1
