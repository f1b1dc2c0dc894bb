"""A replica is whole on one node when it fits, replicas spread, and what cannot be placed is refused."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.config import ModelConfig
from cluster.placement import (
    Node,
    Placed,
    Refusal,
    Shape,
    nodes_per_replica,
    place,
    replica_resources,
    replica_shape,
)


def model(tp: int = 1, pp: int = 1, **more: object) -> ModelConfig:
    return ModelConfig.model_validate(
        {"name": "m", "source": "/x", "tensor_parallel_size": tp, "pipeline_parallel_size": pp, **more}
    )


def nodes(*gpus: int) -> list[Node]:
    return [Node(f"n{index}", float(count), 64.0) for index, count in enumerate(gpus)]


def test_tensor_parallel_replicas_spread_over_nodes() -> None:
    placed = place([Shape("m", ((4.0, 1.0),))] * 3, nodes(8, 8, 8))
    assert not isinstance(placed, Refusal)
    assert {one.nodes for one in placed} == {("n0",), ("n1",), ("n2",)}


def test_a_replica_too_large_for_any_node_is_refused_with_what_there_is() -> None:
    refusal = place([Shape("big", ((8.0, 1.0),))], nodes(4, 4))
    assert isinstance(refusal, Refusal)
    assert "'big' needs 8 GPUs" in refusal.message
    assert "n0: 4 GPUs" in refusal.message


def test_a_large_one_is_not_locked_out_by_small_ones_before_it() -> None:
    shapes = [Shape("small", ((1.0, 1.0),))] * 4 + [Shape("large", ((4.0, 1.0),))]
    assert not isinstance(place(shapes, nodes(4, 4)), Refusal)


def test_one_node_reserves_gpus_on_the_actor_and_no_bundles() -> None:
    assert replica_resources(model(tp=4), "cuda", nodes=1) == {"ray_actor_options": {"num_cpus": 1.0, "num_gpus": 4}}
    assert replica_resources(model(tp=2), "cpu", nodes=1) == {"ray_actor_options": {"num_cpus": 0.5}}


def test_several_nodes_reserve_a_bundle_on_each() -> None:
    assert replica_resources(model(tp=8, pp=2), "cuda", nodes=2) == {
        "ray_actor_options": {"num_cpus": 1.0, "num_gpus": 8},
        "placement_group_bundles": [{"CPU": 1.0, "GPU": 8}] * 2,
        "placement_group_strategy": "STRICT_SPREAD",
    }


@pytest.mark.parametrize(
    ("tp", "pp", "largest", "expected"),
    [(8, 1, 8, 1), (8, 2, 8, 2), (16, 1, 8, 2), (4, 2, 6, 2), (3, 3, 8, 3), (6, 1, 4, 2), (5, 1, 4, 5), (2, 1, 0, 1)],
)
def test_nodes_share_workers_evenly_and_keep_tensor_parallel_groups_whole(
    tp: int, pp: int, largest: int, expected: int
) -> None:
    assert nodes_per_replica(model(tp=tp, pp=pp), "cuda", largest) == expected


def test_what_is_configured_wins_and_must_divide_the_workers() -> None:
    assert nodes_per_replica(model(tp=4, nodes_per_replica=2), "cuda", 8) == 2
    assert nodes_per_replica(model(tp=2, nodes_per_replica=2), "cpu", 0) == 2
    with pytest.raises(ValidationError, match="does not divide the 3 workers"):
        model(tp=3, nodes_per_replica=2)


def test_a_replica_over_more_nodes_than_there_are_is_refused() -> None:
    refusal = place([replica_shape(model(tp=16), "cuda", nodes=2)], nodes(8, 4))
    assert isinstance(refusal, Refusal)
    assert "needs 2 nodes with 8 GPUs and 1 CPUs each" in refusal.message


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=4), st.lists(st.integers(1, 8), max_size=5))
def test_no_node_is_ever_overcommitted(gpus: list[int], sizes: list[int]) -> None:
    placed = place([Shape(str(i), ((float(size), 0.1),)) for i, size in enumerate(sizes)], nodes(*gpus))
    if isinstance(placed, Refusal):
        return
    assert [one.model for one in placed] == [str(i) for i in range(len(sizes))]
    for node in nodes(*gpus):
        assert sum(size for size, one in zip(sizes, placed, strict=True) if node.name in one.nodes) <= node.gpus


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.lists(st.integers(1, 4), max_size=4))
def test_a_single_replica_is_refused_only_if_no_node_can_hold_it(gpus: list[int], sizes: list[int]) -> None:
    for size in sizes:
        placed = place([Shape("m", ((float(size), 0.1),))], nodes(*gpus))
        assert isinstance(placed, Refusal) == all(count < size for count in gpus)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([2, 4, 8]), min_size=1, max_size=3), st.lists(st.sampled_from([1, 2, 4]), max_size=4))
def test_power_of_two_replicas_are_refused_only_if_impossible(gpus: list[int], sizes: list[int]) -> None:
    """Largest first is exact when every size divides the next, which is how GPUs are bought."""
    placed = place([Shape(str(i), ((float(size), 0.1),)) for i, size in enumerate(sizes)], nodes(*gpus))
    possible = any(
        all(sum(s for s, where in zip(sizes, choice, strict=True) if where == n) <= g for n, g in enumerate(gpus))
        for choice in product(range(len(gpus)), repeat=len(sizes))
    )
    assert isinstance(placed, Refusal) == (not possible)
    if not isinstance(placed, Refusal):
        assert all(isinstance(one, Placed) for one in placed)
