"""Two tenants on one fleet, in simulated time: the light one hardly feels the other, and nothing is lost for it."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.simulator.fairness.runs import Run, row_of
from cluster.simulator.fairness.workload import HEAVY, LIGHT, SHAPES, Workload
from cluster.simulator.policies.baryon import Baryon
from cluster.simulator.policies.fair import Fair
from cluster.simulator.runs import Run as RoutingRun
from cluster.simulator.runs import row_of as routed
from cluster.simulator.scenarios import SHARED_PREFIX
from cluster.simulator.simulation import Fleet, Outage, simulate
from engine.simulated.profiles import get_profile

FLEET = Fleet(get_profile("llama-3.1-70b-h100-tp4"), 3)
BOTH = (("baryon", Baryon), ("fair", Fair))
WORKLOAD = Workload(SHAPES["chat"], load=1.5, ratio=20.0, seconds=20.0)


@pytest.mark.parametrize("gateways", [1, 2])
def test_whoever_waits_is_served_once_and_each_tenant_in_order(gateways: int) -> None:
    asked = list(WORKLOAD.requests(FLEET.profile.step_time, 3, 1, alone=False))
    done = list(simulate(asked, replace(FLEET, gateways=gateways), Fair, 1))
    assert sorted(request.index for request in done) == list(range(len(asked)))
    assert Counter(r.tenant for r in done) == Counter(r.tenant for r in asked)
    assert all(r.arrived_ms < r.first_token_ms <= r.finished_ms for r in done)
    if gateways == 1:
        began = [r.dispatched_ms for r in sorted(done, key=lambda r: r.index) if r.tenant == HEAVY]
        assert began == sorted(began)


def test_requests_that_wait_survive_the_loss_of_a_replica() -> None:
    asked = list(WORKLOAD.requests(FLEET.profile.step_time, 3, 1, alone=False))
    fleet = replace(FLEET, outages=tuple(Outage(replica, 5_000, 8_000) for replica in range(3)))
    done = list(simulate(asked, fleet, Fair, 1))
    assert sorted(request.index for request in done) == list(range(len(asked)))
    assert all(r.first_token_ms > 0 for r in done if r.arrived_ms > 8_000)


def test_beside_a_flood_a_light_tenant_waits_a_fraction_of_what_it_waits_first_come_first_served() -> None:
    alone, fifo, fair = (row_of(Run(order, WORKLOAD, FLEET, 0)) for order in ("alone", "fifo", "fair"))
    assert alone.light_requests == fifo.light_requests == fair.light_requests > 30
    assert fifo.light_ttft_p99_ms > 2.8 * fair.light_ttft_p99_ms
    assert fair.light_ttft_p99_ms < 2 * alone.light_ttft_p99_ms
    assert fair.tokens_per_s > 0.95 * fifo.tokens_per_s


def test_a_fleet_at_its_limit_finds_as_much_in_its_caches_as_without_a_queue() -> None:
    """Whoever has room next is not who has the prefix: choosing by room alone halved the hits."""
    at_limit = replace(SHARED_PREFIX, seconds=150.0)
    rows = [routed(RoutingRun(name, factory, at_limit, replace(FLEET, replicas=8), 0, 5.0)) for name, factory in BOTH]
    without, queued = rows
    assert queued.prefix_hit_rate > without.prefix_hit_rate - 0.03 > 0.4
    assert queued.slo_attainment > without.slo_attainment - 0.05


def test_the_heavy_tenant_sends_so_many_times_the_tokens() -> None:
    for shape in SHAPES.values():
        workload = Workload(shape, load=1.0, ratio=20.0, seconds=4_000.0)
        tokens: Counter[str] = Counter()
        for request in workload.requests(FLEET.profile.step_time, 4, 0, alone=False):
            tokens[request.tenant] += request.input_tokens + request.output_tokens
        assert tokens[HEAVY] / tokens[LIGHT] == pytest.approx(20, rel=0.15)


def test_a_script_gets_a_row_for_each_order_and_bad_input_is_named() -> None:
    short = ["simulate", "fairness", "--seconds", "4", "--replicas", "2", "--seeds", "1"]
    done = CliRunner().invoke(app, [*short, "--json"])
    assert done.exit_code == 0, done.output
    assert [row["policy"] for row in json.loads(done.stdout)] == ["alone", "fifo", "fair"]
    for wrong, words in ((["--heavy", "tiny"], "100k"), (["--load", "0"], "--load"), (["--profile", "x"], "h100")):
        refused = CliRunner().invoke(app, [*short, *wrong], env={"COLUMNS": "200"})
        assert refused.exit_code == 2
        assert words in (refused.stderr or refused.output)
