"""Gateways that hear of each other do not herd, and old news makes no replica look idle or full."""

from random import Random

import pytest

from deployments.gateway.routing.others import PERIOD_MS, mean_of_fresh
from deployments.gateway.routing.router import Prompt, Router
from deployments.gateway.routing.score import Slo

REPLICAS = ("a", "b", "c", "d")


def router(seed: int) -> Router:
    return Router(Random(seed), Slo(2_000, 100))


def test_what_another_gateway_sent_counts_as_if_it_were_ours() -> None:
    own, told = router(1), router(2)
    prompt = Prompt(8_000, (1, 2, 3), (64, 128, 192))
    own.place(prompt, ["a"], 0)
    told.other_began("a", "g/1", prompt, 0, 0)
    ours, theirs = (r._terms(Prompt(1_000), ["a"], {}, 10)["a"] for r in (own, told))
    assert theirs.wait_ms == pytest.approx(ours.wait_ms)
    assert told.index.hits((1, 2, 3)) == {"a": 3}
    assert told.ledger.total_requests() == 0
    told.other_got_first_token("a", "g/1", 500)
    assert told._terms(Prompt(1_000), ["a"], {}, 500)["a"].others_ms > 0
    told.other_ended("a", "g/1", 900)
    assert told._terms(Prompt(1_000), ["a"], {}, 900)["a"].others_ms == 0
    told.other_ended("a", "g/1", 900)


def test_a_burst_over_four_gateways_that_hear_each_other_spreads_evenly() -> None:
    gateways = [router(seed) for seed in range(4)]
    counts = dict.fromkeys(REPLICAS, 0)
    for number in range(64):
        prompt = Prompt(4_000, (number,), (3_968,))
        placement = gateways[number % 4].place(prompt, REPLICAS, number)
        counts[placement.replica] += 1
        for other in gateways:
            if other is not gateways[number % 4]:
                other.other_began(placement.replica, f"{number}", prompt, 0, number)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_replica_that_falls_silent_looks_like_the_others_not_idle_and_not_full() -> None:
    routing = router(1)
    for replica in REPLICAS:
        for number in range(8 if replica != "a" else 40):
            routing.other_began(replica, f"{replica}{number}", Prompt(2_000), 0, 0)
            routing.other_got_first_token(replica, f"{replica}{number}", 1)
    late_ms = 20 * PERIOD_MS
    for replica in REPLICAS[1:]:
        routing.heard(replica, late_ms)
    elsewhere = mean_of_fresh(routing.ledger.theirs(), late_ms)
    silent = routing.ledger.account("a")
    assert silent.load(late_ms, elsewhere).decoding_requests == pytest.approx(8, rel=0.01)
    assert silent.load(PERIOD_MS / 2, elsewhere).decoding_requests == 40


def test_if_nobody_is_heard_the_last_news_stand() -> None:
    routing = router(1)
    routing.other_began("a", "1", Prompt(2_000), 0, 0)
    routing.other_got_first_token("a", "1", 1)
    early, late = (routing._terms(Prompt(1_000), ["a"], {}, at)["a"].others_ms for at in (2, 1e6))
    assert early == late > 0


def test_a_reset_drops_what_was_known_of_others_and_keeps_our_own() -> None:
    routing = router(1)
    ours = routing.place(Prompt(2_000), ["a"], 0)
    routing.other_began("a", "1", Prompt(2_000), 0, 0)
    routing.other_reset("a", 5)
    assert routing.requests_on("a") == 1
    assert routing.ledger.total_requests() == 1
    assert ours.replica == "a"
