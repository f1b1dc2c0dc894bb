"""A gateway is sent clients once what it serves has come up; a model that never does keeps it back for a while."""

from deployments.gateway.catalogue import ModelCard, Wake
from deployments.gateway.readiness import PATIENCE_S, Readiness
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.tenants.tenant import Tenant
from tests.unit.gateway.harness import OpenStand, get
from tests.unit.gateway.keys import keyring_of, new_key

A, B = ModelCard("a", "vllm"), ModelCard("b", "vllm")
AT_ZERO = ModelCard("z", "vllm", wake=Wake(1.0, 1))


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def table(*models: str) -> ReplicaTable:
    replicas = ReplicaTable()
    for model in models:
        replicas.update(model, [ReplicaInfo("r", "http://127.0.0.1:1", "token", 8, max_model_len=4096)])
    return replicas


def test_it_waits_for_every_model_that_is_not_at_zero_and_then_stays_ready() -> None:
    readiness = Readiness(Clock())
    assert not readiness.seen([A, B, AT_ZERO], table("a"))
    assert readiness.seen([A, B, AT_ZERO], table("a", "b"))
    assert readiness.seen([A, B, AT_ZERO], table())


def test_a_model_that_does_not_start_keeps_it_back_for_ten_minutes() -> None:
    clock = Clock()
    readiness = Readiness(clock)
    clock.now_s = PATIENCE_S + 1
    assert not readiness.seen([A, B], table())
    assert readiness.seen([A, B], table("b"))


async def test_a_probe_needs_no_key_and_hears_503_before(open_stand: OpenStand) -> None:
    gateway = await open_stand(keyring=keyring_of({new_key(): Tenant("acme")}))
    assert (await gateway.ask(get("/health"))).status == 200
    answer = await gateway.ask(get("/ready"))
    assert (answer.status, answer.error["code"]) == (503, "not_ready")
