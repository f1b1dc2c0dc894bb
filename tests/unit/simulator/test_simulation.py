"""What a run must keep to, whatever the policy."""

import math
from dataclasses import replace
from random import Random

import pytest

from cluster.simulator.policies.catalogue import POLICIES
from cluster.simulator.request import SimulatedRequest
from cluster.simulator.runs import Run, row_of
from cluster.simulator.scenarios import SCENARIOS, SHARED_PREFIX
from cluster.simulator.simulation import Fleet, Outage, simulate
from cluster.simulator.summary import interval, percentile, summarise
from cluster.simulator.trace_request import TraceRequest
from deployments.gateway.routing.score import Slo
from engine.simulated.profiles import get_profile

FLEET = Fleet(get_profile("llama-3.1-8b-h100-tp1"), 3, hash_tokens=80)
SHORT = replace(SHARED_PREFIX, seconds=20.0, rate_req_s=8.0)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("gateways", [1, 3])
def test_every_request_comes_out_once_and_in_possible_times(policy: str, gateways: int) -> None:
    asked = list(SHORT.requests(1))
    done = list(simulate(asked, replace(FLEET, gateways=gateways), POLICIES[policy], 1))
    assert sorted(r.index for r in done) == list(range(len(asked)))
    for request in done:
        assert request.arrived_ms < request.first_token_ms <= request.finished_ms
        assert 0 <= request.cached_tokens < request.prompt_tokens
        assert request.generated == request.output_tokens


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_run(policy: str) -> None:
    run = Run(policy, POLICIES[policy], SHORT, FLEET, 3)
    assert row_of(run) == row_of(run)
    assert row_of(run) != row_of(replace(run, seed=4))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_lost_replica_gets_nothing_and_what_had_no_token_is_answered_elsewhere(policy: str) -> None:
    fleet = replace(FLEET, outages=(Outage(0, 5_000, 12_000),))
    done = list(simulate(SHORT.requests(1), fleet, POLICIES[policy], 1))
    lost = [r for r in done if math.isnan(r.finished_ms)]
    assert sorted(r.index for r in done) == list(range(len(done)))
    assert all(r.replica == 0 and r.first_token_ms < 5_000 for r in lost)
    away = [r for r in done if 5_000 < r.arrived_ms < 12_000]
    assert away
    assert all(r.replica != 0 for r in away)


def test_a_request_that_fits_nowhere_is_refused_and_counts_as_failed() -> None:
    requests = [TraceRequest(0, 10**7, 5), TraceRequest(1, 100, 5)]
    row = summarise("x", 0, simulate(requests, FLEET, POLICIES["baryon"], 0), Slo(2_000, 100))
    assert (row.requests, row.failed, row.slo_attainment) == (2, 1, 0.5)


def test_arrivals_come_faster_and_are_otherwise_the_same() -> None:
    slow, fast = list(SHORT.requests(1)), list(SHORT.requests(1, speedup=2))
    assert [r.arrived_ms / 2 for r in slow] == [r.arrived_ms for r in fast]
    assert [r.blocks for r in slow] == [r.blocks for r in fast]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_asks_for_what_it_says(name: str) -> None:
    scenario = replace(SCENARIOS[name], seconds=60.0)
    requests = list(scenario.requests(1))
    assert requests == list(scenario.requests(1)) != list(scenario.requests(2))
    assert len(requests) == pytest.approx(scenario.rate_req_s * 60, rel=0.25)
    assert all(len(r.blocks) == r.input_tokens // scenario.block_tokens for r in requests)
    shared = {r.blocks[0] for r in requests if r.blocks}
    if name == "one-hot-prefix":
        assert len(shared) == 1
    if name == "no-reuse":
        assert len(shared) == len([r for r in requests if r.blocks])


def test_shared_prefixes_are_those_of_the_published_workload() -> None:
    requests = list(replace(SHARED_PREFIX, seconds=2_000.0).requests(1))
    assert len({r.blocks[: 6_000 // 80] for r in requests}) == 150
    assert {(r.input_tokens, r.output_tokens) for r in requests} == {(7_200, 1_000)}


def test_a_row_says_what_users_would_feel() -> None:
    fast = SimulatedRequest(0, 100, 11, (), 0.0, first_token_ms=100, finished_ms=600, cached_tokens=50)
    slow = SimulatedRequest(1, 300, 11, (), 1_000.0, first_token_ms=4_000, finished_ms=5_000, cached_tokens=0)
    lost = SimulatedRequest(2, 300, 11, (), 2_000.0)
    row = summarise("p", 7, [fast, slow, lost], Slo(2_000, 100))
    assert (row.requests, row.failed) == (3, 1)
    assert (row.ttft_mean_ms, row.tpot_mean_ms, row.e2e_mean_ms) == (1_550, 75, 2_300)
    assert row.slo_attainment == pytest.approx(1 / 3)
    assert row.prefix_hit_rate == 50 / 400


def test_percentiles_and_intervals_are_the_textbooks() -> None:
    source = Random(1)
    values = [source.random() for _ in range(101)]
    assert percentile(values, 0.9) == sorted(values)[90]
    assert percentile([], 0.9) == 0
    assert interval([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, pytest.approx(1.963, abs=0.001))
    assert interval([4.0]) == (4.0, 0.0)
