"""Keys from a Secret's files are good from then on; a second time changes nothing, a revoked one stays revoked."""

from pathlib import Path

import pytest

from cluster.key_desk import key_desk
from cluster.key_files import BadKeyFile, adopt
from deployments.gateway.tenants.api_key import new_api_key
from deployments.key_administration import KeyRefused
from deployments.key_changes import RevokeKey


def test_each_file_is_a_tenant_with_its_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (first, one), (second, other) = new_api_key(), new_api_key()
    (keys / "acme").write_text(f"{one}\n{other}\n")
    (keys / "..data").write_text("whatever")
    with key_desk(None, tmp_path / "state.sqlite") as desk:
        assert adopt(keys, desk) == 2
        assert {(row["id"], row["tenant"]) for row in desk.listing()["keys"]} == {(first, "acme"), (second, "acme")}
        desk.change(RevokeKey(first))
        assert adopt(keys, desk) == 0
        revoked = {row["id"] for row in desk.listing()["keys"] if row["revoked_at_s"] is not None}
        assert revoked == {first}


def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "a").write_text(new_api_key()[1])
    (keys / "b").write_text("sk-very-secret")
    with key_desk(None, tmp_path / "state.sqlite") as desk:
        with pytest.raises(BadKeyFile) as refused:
            adopt(keys, desk)
        assert "sk-very-secret" not in str(refused.value)
        assert not desk.listing()["keys_exist"]


def test_a_file_whose_name_is_no_tenants_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / ("a" * 65)).write_text(new_api_key()[1])
    with key_desk(None, tmp_path / "state.sqlite") as desk, pytest.raises(KeyRefused, match="1 to 64 letters"):
        adopt(folder, desk)
