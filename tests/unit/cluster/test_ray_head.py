"""Which ports Ray's workers may take beside the cluster's own, and who may read Ray's token."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import ray_head
from cluster.ray_head import worker_ports


def test_they_are_rays_own_where_nobody_else_is_there() -> None:
    assert worker_ports([8000, 8265, 9464]) == (10_002, 19_999)


def test_they_keep_clear_of_a_dashboard_among_them() -> None:
    assert worker_ports([8000, 18_265]) == (18_266, 28_263)


@given(st.lists(st.integers(0, 65_535), max_size=4))
def test_none_is_anybody_elses_and_there_are_enough(others: list[int]) -> None:
    lowest, highest = worker_ports(others)
    assert not [port for port in others if lowest <= port <= highest]
    assert lowest >= 10_002
    assert highest <= 31_999
    assert 4_000 <= highest - lowest + 1 <= 9_998


@pytest.mark.parametrize("is_there", [True, False])
def test_rays_token_is_readable_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/sh\nmkdir -p "$HOME/.ray" && printf made > "$HOME/.ray/auth_token"\n')
    ray.chmod(0o755)
    monkeypatch.setattr(ray_head, "ray_executable", lambda: str(ray))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    token = tmp_path / ".ray" / "auth_token"
    if is_there:
        token.parent.mkdir()
        token.write_text("there")
        token.chmod(0o644)
    ray_head._ensure_auth_token()
    assert ray_head.auth_token() == ("there" if is_there else "made")
    assert token.stat().st_mode & 0o777 == 0o600
