"""Which ports Ray's workers may take beside the cluster's own."""

from hypothesis import given
from hypothesis import strategies as st

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
