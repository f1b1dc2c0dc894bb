"""Each policy by what its formula says of a small case."""

import math
from random import Random

import pytest

from cluster.simulator.named import PolicyError, policies_named
from cluster.simulator.policies.catalogue import POLICIES
from cluster.simulator.replica import Replica
from cluster.simulator.request import SimulatedRequest
from cluster.simulator.simulation import Policy
from deployments.gateway.routing.score import Slo
from engine.simulated.profiles import get_profile

PROFILE = get_profile("llama-3.1-70b-h100-tp4")
BLOCK = 64
CACHE_AWARE = (
    "baryon", "ray-prefix-affinity", "sglang-cache-aware", "vllm-router-cache-aware", "kubeai-chwbl",
    "aibrix-prefix-cache", "llm-d-3-2-2", "llm-d-sticky", "dynamo-kv", "lmetric",
)  # fmt: skip


class Stand:
    """Replicas that compute what a policy places on them."""

    def __init__(self, name: str, replicas: int, seed: int = 1) -> None:
        self.replicas = [Replica(PROFILE.step_time, PROFILE.kv_capacity_tokens, BLOCK) for _ in range(replicas)]
        self.policy: Policy = POLICIES[name](self.replicas, Random(seed), Slo(2_000, 100))
        self.candidates = list(range(replicas))
        self.now_ms = 0.0
        self._made = 0

    def send(self, conversation: int, tokens: int = 4_096, output_tokens: int = 50) -> int:
        blocks = tuple(conversation * 10_000 + i for i in range(tokens // BLOCK))
        request = SimulatedRequest(self._made, tokens, output_tokens, blocks, self.now_ms)
        self._made += 1
        request.replica = self.policy.choose(request, self.candidates, self.now_ms)
        self.replicas[request.replica].submit(request, self.now_ms)
        return request.replica

    def settle(self) -> None:
        """Until nothing is left to do."""
        while (at_ms := min(replica.next_event_ms for replica in self.replicas)) < float("inf"):
            self.now_ms = at_ms
            replica = next(replica for replica in self.replicas if replica.next_event_ms == at_ms)
            first, finished = replica.advance()
            for request in first:
                self.policy.first_token(request, at_ms)
            for request in finished:
                self.policy.finished(request, at_ms)


@pytest.mark.parametrize("name", CACHE_AWARE)
def test_a_policy_that_knows_the_cache_sends_the_next_turn_to_the_last_ones_replica(name: str) -> None:
    stand = Stand(name, 4)
    home = stand.send(1)
    stand.settle()
    for turn in range(1, 5):
        assert stand.send(1, 4_096 + 512 * turn) == home
        stand.settle()


@pytest.mark.parametrize("name", ["round-robin", "least-requests", "power-of-two"])
def test_a_policy_that_does_not_spreads_one_conversation(name: str) -> None:
    stand = Stand(name, 4)
    assert len({stand.send(1) for _ in range(40)}) == 4


@pytest.mark.parametrize("name", [name for name in POLICIES if name not in ("kubeai-chwbl", "power-of-two")])
def test_unrelated_requests_that_come_together_are_spread_over_all(name: str) -> None:
    stand = Stand(name, 4)
    counts = [0] * 4
    for conversation in range(32):
        counts[stand.send(conversation)] += 1
    assert min(counts) >= 4


def test_round_robin_takes_turns_and_power_of_two_never_the_busiest() -> None:
    stand = Stand("round-robin", 3)
    assert [stand.send(n) for n in range(6)] == [0, 1, 2, 0, 1, 2]
    stand = Stand("power-of-two", 3)
    stand.candidates = [0]
    for n in range(9):
        stand.send(n)
    stand.candidates = [0, 1, 2]
    assert 0 not in {stand.send(100 + n) for n in range(6)}


def test_the_rings_home_is_left_when_its_load_is_a_quarter_over_the_mean() -> None:
    """KubeAI's bounded loads: at most 125 % of the mean, rounded up, before the request itself."""
    stand = Stand("kubeai-chwbl", 4)
    counts = [0] * 4
    for _ in range(40):
        counts[stand.send(1)] += 1
    assert max(counts) <= math.ceil(1.25 * 40 / 4) + 1
    assert len({counts.index(count) for count in counts if count}) > 1


@pytest.mark.parametrize(("name", "absolute"), [("sglang-cache-aware", 32), ("vllm-router-cache-aware", 64)])
def test_cache_aware_routers_leave_the_cache_when_loads_differ_by_their_threshold(name: str, absolute: int) -> None:
    stand = Stand(name, 2)
    sent = [stand.send(1) for _ in range(absolute + 1)]
    assert len(set(sent)) == 1
    assert {stand.send(1) for _ in range(4)} != set(sent)


@pytest.mark.parametrize(("behind_tokens", "stays"), [(200_000, True), (380_000, False)])
def test_llm_ds_sticky_filter_stays_until_it_costs_18_s(behind_tokens: int, stays: bool) -> None:
    """At 15,928 tokens a second; its weighted sum alone would leave either queue for one that has 79 % cached."""
    stand = Stand("llm-d-sticky", 2)
    home = stand.send(1, 8_192, 5)
    stand.settle()
    stand.candidates = [1 - home]
    stand.send(1, 8_192 * 3 // 4, 5)
    stand.settle()
    stand.candidates = [home]
    for n in range(20):
        stand.send(100 + n, behind_tokens // 20, 5)
    stand.candidates = [0, 1]
    assert (stand.send(1, 8_192) == home) is stays


def test_lmetric_multiplies_and_dynamo_adds() -> None:
    """A cached prompt behind twelve decoding requests, or computed on an idle replica."""
    chosen = {}
    for name in ("lmetric", "dynamo-kv"):
        stand = Stand(name, 2)
        home = stand.send(1, 8_192, 5)
        stand.settle()
        stand.candidates = [home]
        for n in range(12):
            stand.send(100 + n, 64, 5_000)
        for _ in range(20):
            replica = stand.replicas[home]
            stand.now_ms = replica.next_event_ms
            for request in replica.advance()[0]:
                stand.policy.first_token(request, stand.now_ms)
        stand.candidates = [0, 1]
        chosen[name] = stand.send(1, 8_192) == home
    assert chosen == {"lmetric": True, "dynamo-kv": True}


def test_an_unknown_policy_is_named_with_those_that_exist() -> None:
    with pytest.raises(PolicyError, match="lmetrik") as error:
        policies_named("baryon,lmetrik", POLICIES)
    assert "nearest: lmetric" in str(error.value)
    assert all(name in str(error.value) for name in POLICIES)
    assert list(policies_named("all", POLICIES)) == list(POLICIES)
    assert list(policies_named(" baryon, round-robin ", POLICIES)) == ["baryon", "round-robin"]
    with pytest.raises(PolicyError, match="no policy"):
        policies_named(" , ", POLICIES)
