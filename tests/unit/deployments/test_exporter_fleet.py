"""Each node has its exporter, whatever becomes of nodes and actors."""

from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from deployments import exporter_fleet
from deployments.exporter_fleet import ExporterFleet
from deployments.node_exporter import Orders
from monitoring.exporter_app import Target

ORDERS = Orders("127.0.0.1", 9464, "/metrics", {"m-app": "m"}, frozenset(), frozenset(), ())


class Actor:
    """An exporter as far as state sees it. `obey.remote(orders)` is awaited."""

    def __init__(self, node: str) -> None:
        self.node, self.is_dead = node, False
        self.obey = self

    async def remote(self, orders: Orders) -> Target:
        if self.is_dead:
            raise RayActorError
        return Target(self.node, f"{self.node}:{orders.port}")


class Ray:
    def __init__(self) -> None:
        self.actors: dict[str, Actor] = {}
        self.started: list[str] = []

    def exporter_on(self, node: str) -> Any:
        self.started.append(node)
        self.actors[node] = Actor(node)
        return self.actors[node]

    def kill(self, actor: Actor) -> None:
        del self.actors[actor.node]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    ray = Ray()
    monkeypatch.setattr(exporter_fleet, "exporter_on", ray.exporter_on)
    monkeypatch.setattr(exporter_fleet.ray, "kill", ray.kill)
    return ray


async def test_nodes_come_and_go(ray: Ray) -> None:
    fleet = ExporterFleet()
    await fleet.order(["a", "b"], ORDERS)
    assert fleet.targets == (Target("a", "a:9464"), Target("b", "b:9464"))
    await fleet.order(["b", "c"], ORDERS)
    assert [target.node for target in fleet.targets] == ["b", "c"]
    assert sorted(ray.actors) == ["b", "c"]
    assert ray.started.count("b") == 1


async def test_one_that_does_not_answer_is_looked_for_again(ray: Ray) -> None:
    fleet = ExporterFleet()
    await fleet.order(["a", "b"], ORDERS)
    ray.actors["a"].is_dead = True
    await fleet.order(["a", "b"], ORDERS)
    assert [target.node for target in fleet.targets] == ["a", "b"]
    await fleet.order(["a", "b"], ORDERS)
    assert sorted(ray.started) == ["a", "a", "b"]


async def test_port_zero_ends_them_all(ray: Ray) -> None:
    fleet = ExporterFleet()
    await fleet.order(["a", "b"], ORDERS)
    await fleet.order(["a", "b"], replace(ORDERS, port=0))
    assert fleet.targets == ()
    assert not ray.actors
