"""New versions replace old ones within what is free, and what does not start is put back."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cluster.config_file import parse_config
from cluster.placement import Node, Refusal, Shape, place
from cluster.rollout import REPLACED_AT_ONCE, Change, Rollout, changes, put_back, rollouts
from cluster.serve_schema import Surroundings, serve_schema

WHERE = Surroundings(Path("/s"), Path("/m"), Path("/l"), "127.0.0.1", "cuda", 8.0)
MODEL = "  - {{name: {0}, source: /x, device: cuda, cpus_per_replica: 1, replicas: {{min: {1}, max: 40}}, {2}}}\n"


def schema(**models: tuple[int, str]) -> dict[str, Any]:
    """Of each model the least number of replicas, and more settings."""
    text = "models:\n" + "".join(MODEL.format(name, *rest) for name, rest in models.items())
    return serve_schema(parse_config(text), WHERE)


def running(document: dict[str, Any], **replicas: int) -> dict[str, Any]:
    """Serve's account of a cluster that was given this document."""
    return {
        application["name"]: {
            "deployed_app_config": application,
            "deployments": {"Replica": {"replicas": [{"state": "RUNNING"}] * replicas.get(application["name"], 1)}},
        }
        for application in document["applications"]
    }


def gpus(count: float, cpus: float = 1.0) -> Shape:
    return Shape("m", ((count, cpus),))


def change(replaced: int, new: float = 1, old: float = 1, added: int = 0, name: str = "m") -> Change:
    return Change(name, gpus(old), gpus(new), replaced, added)


def nodes(*free_gpus: float) -> list[Node]:
    return [Node(f"n{index}", count, 8.0) for index, count in enumerate(free_gpus)]


def test_only_what_needs_new_processes_is_replaced() -> None:
    old = schema(a=(2, "max_in_flight: 8"), b=(2, "slo: {ttft_ms: 900}"), c=(1, ""))
    new = schema(a=(2, "max_in_flight: 9"), b=(3, "slo: {ttft_ms: 800}"), c=(1, ""), d=(1, ""))
    found = {c.application: (c.replaced, c.added) for c in changes(new, running(old, a=2, b=2, c=1))}
    assert found == {"a": (2, 0), "b": (0, 1), "c": (0, 0), "d": (0, 1)}


def test_more_gpus_for_a_replica_are_a_change_too() -> None:
    old, new = schema(a=(1, "")), schema(a=(1, "tensor_parallel_size: 2"))
    (found,) = changes(new, running(old))
    assert (found.replaced, found.old.bundles, found.new.bundles) == (1, ((1.0, 1.0),), ((2.0, 1.0),))


def test_with_room_beside_them_one_in_five_is_replaced_at_a_time_and_the_old_stay() -> None:
    assert rollouts([change(3)], nodes(8)) == {"m": Rollout(1)}
    assert rollouts([change(10)], nodes(8)) == {"m": Rollout(2)}
    assert rollouts([change(40)], nodes(3)) == {"m": Rollout(3)}


def test_without_room_they_are_replaced_in_place() -> None:
    assert rollouts([change(3)], nodes(0, 0)) == {"m": Rollout(0)}
    assert Rollout(0).options(3) == {"max_surge_percent": 0, "rolling_update_percentage": REPLACED_AT_ONCE}


def test_a_larger_replica_in_the_place_of_smaller_ones_waits_until_all_have_stopped() -> None:
    """Halfway there would be room for neither."""
    assert rollouts([change(3, new=2)], nodes(1)) == {"m": Rollout(0, 1.0)}
    assert rollouts([change(3, new=2)], nodes(8)) == {"m": Rollout(1)}


def test_added_replicas_have_the_first_claim_on_what_is_free() -> None:
    assert rollouts([change(1), change(0, added=1, name="other")], nodes(1)) == {"m": Rollout(0)}
    assert rollouts([change(1), change(0, added=1, name="other")], nodes(2)) == {"m": Rollout(1)}


def test_two_rollouts_do_not_count_on_the_same_gpu() -> None:
    assert rollouts([change(1), change(1, name="other")], nodes(1)) == {"m": Rollout(1), "other": Rollout(0)}


def test_who_is_about_to_lose_its_only_replica_is_told() -> None:
    assert "nothing serves" in Rollout(0).words(1)
    assert "nothing serves" in Rollout(0, 1.0).words(3)
    assert "nothing serves" not in Rollout(0).words(2)
    assert "nothing serves" not in Rollout(1).words(1)


@given(st.integers(1, 100), st.data())
def test_serve_starts_as_many_beside_as_were_chosen(replicas: int, data: st.DataObject) -> None:
    """Its own arithmetic: the percentage of the replicas, rounded up."""
    surge = data.draw(st.integers(0, replicas))
    percent = Rollout(surge).options(replicas)["max_surge_percent"]
    assert 0 <= percent <= 100
    assert (percent * replicas + 99) // 100 == surge


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2)), max_size=4),
    st.lists(st.integers(0, 8), max_size=4),
)
def test_what_starts_beside_the_old_always_fits(sizes: list[tuple[int, int, int, int]], free_gpus: list[int]) -> None:
    found = [change(r, new, old, added, f"m{i}") for i, (r, new, old, added) in enumerate(sizes)]
    free = nodes(*map(float, free_gpus))
    chosen = rollouts(found, free)
    assert chosen.keys() == {c.application for c in found if c.replaced}
    surging = [c.new for c in found if c.replaced for _ in range(chosen[c.application].surge)]
    if surging:
        added = [c.new for c in found for _ in range(c.added)]
        assert not isinstance(place(added, free), Refusal)
        assert not isinstance(place(surging, free), Refusal)
    for c in (c for c in found if c.replaced):
        assert chosen[c.application].surge <= max(1, c.replaced)


def test_what_failed_is_put_back_and_the_rest_stays_new() -> None:
    old = schema(a=(1, "slo: {ttft_ms: 900}"), b=(1, "slo: {ttft_ms: 900}"))
    new = schema(a=(1, "slo: {ttft_ms: 100}, max_in_flight: 8"), b=(1, "slo: {ttft_ms: 100}"), c=(1, ""))
    before = {application["name"]: application for application in old["applications"]}
    back = {application["name"]: application for application in put_back(new, before, ["a"])["applications"]}
    assert back["a"] == before["a"]
    assert {name: back[name] for name in "bc"} == {a["name"]: a for a in new["applications"] if a["name"] in "bc"}
    cards = back["state"]["deployments"][0]["user_config"]["models"]
    assert {card["name"]: card["slo"]["ttft_ms"] for card in cards} == {"a": 900, "b": 100, "c": 2000}
