"""Where a request goes, told through the router alone: no clock, no network."""

from random import Random

import pytest

from deployments.gateway.routing.affinity import replica_of_session
from deployments.gateway.routing.router import Placement, Prompt, Router, Told
from deployments.gateway.routing.score import Ask, Coefficients, Load, Outlook, Slo, terms_of

SLO = Slo(ttft_ms=2_000, tpot_ms=100)
SPEED = Coefficients(0.06, 0.9, 17, 0.03, 0.03)
REPLICAS = ("a", "b", "c", "d")
OUTLOOK = Outlook(output_tokens=200, hit_rate=0.5, slo=SLO)


def prompt(conversation: int, tokens: int = 4_096) -> Prompt:
    count = tokens // 64
    return Prompt(tokens, [conversation * 10_000 + i for i in range(count)], [64.0 * (i + 1) for i in range(count)])


def router(seed: int = 1) -> Router:
    made = Router(Random(seed), SLO)
    for replica in REPLICAS:
        made.set_cache_tokens(replica, 400_000)
    return made


def serve(to: Router, asked: Prompt, at_ms: float, took_ms: float = 300, output_tokens: int = 100) -> Placement:
    placement = to.place(asked, REPLICAS, at_ms)
    to.first_token(placement, at_ms + took_ms)
    told = Told(output_tokens, int(asked.tokens), round(placement.terms.hit_tokens))
    to.finish(placement, at_ms + took_ms + 20 * output_tokens, told)
    return placement


def test_the_next_turn_of_a_conversation_goes_where_the_last_one_was() -> None:
    routing = router()
    first = serve(routing, prompt(1), 0)
    for turn in range(1, 6):
        after = serve(routing, prompt(1, 4_096 + 256 * turn), 10_000 * turn)
        assert after.replica == first.replica
        assert after.terms.hit_tokens == 4_096 + 256 * (turn - 1)


def test_siblings_of_a_burst_stick_before_the_first_has_answered() -> None:
    routing = router()
    first = routing.place(prompt(1), REPLICAS, 0)
    assert routing.place(prompt(1), REPLICAS, 1).replica == first.replica


def test_a_first_block_in_common_does_not_draw_all_conversations_to_one_replica() -> None:
    routing = router()
    placed = []
    for number in range(1, 201):
        alone = prompt(number, 12_000)
        asked = Prompt(alone.tokens, [-1, *alone.blocks[1:]], alone.ends)
        placed.append(serve(routing, asked, 10_000.0 * number).replica)
    assert all(placed[50:].count(replica) > 15 for replica in REPLICAS)


def test_unrelated_requests_spread_and_ties_are_broken_at_random() -> None:
    routing = router()
    placed = [routing.place(prompt(number), REPLICAS, 0).replica for number in range(8)]
    assert sorted(placed) == sorted(REPLICAS * 2)
    assert len({router(seed).place(prompt(1), REPLICAS, 0).replica for seed in range(30)}) == 4


def test_a_cached_prefix_does_not_hold_a_request_on_a_crowded_replica() -> None:
    routing = router()
    home = serve(routing, prompt(1), 0).replica
    elsewhere = {routing.place(prompt(1), REPLICAS, 5_000 + i).replica for i in range(400)} - {home}
    assert elsewhere


def test_a_replica_that_would_break_the_slo_comes_after_one_that_keeps_it() -> None:
    asked = prompt(1, 27_776)
    for slo, chosen, missed_ms in ((SLO, "b", SLO.ttft_ms), (Slo(4_000, 100), "a", 0)):
        routing = Router(Random(1), slo)
        busy = routing.place(prompt(1, 28_992), ["a"], 0)
        assert busy.terms.ttft_ms > SLO.ttft_ms
        placement = routing.place(asked, ["a", "b"], 0)
        assert placement.replica == chosen
        a, b = placement.candidates["a"], placement.candidates["b"]
        assert (a.miss_ms, b.miss_ms) == (missed_ms, 0)
        assert a.total_ms - a.miss_ms < b.total_ms


def test_a_miss_of_either_promise_counts_as_one_and_no_more_where_all_miss() -> None:
    slow = SPEED.slower(1, 10)
    late, both = (
        terms_of(Load(3_000, 0, 0, 0, 0, 0, 1e6, 1), speed, Ask(8, 0, 0, 0), OUTLOOK) for speed in (SPEED, slow)
    )
    assert (late.miss_ms, both.miss_ms) == (SLO.ttft_ms, 2 * SLO.ttft_ms)
    assert terms_of(Load(9_000, 0, 0, 0, 0, 0, 1e6, 1), SPEED, Ask(8, 0, 0, 0), OUTLOOK).miss_ms == late.miss_ms


def test_a_prefix_is_not_computed_again_for_a_small_gain() -> None:
    for seed in range(20):
        routing = router(seed)
        home = serve(routing, prompt(1, 100), 0).replica
        serve(routing, prompt(2, 100), 0)
        placement = routing.place(prompt(1, 100), REPLICAS, 60_000)
        assert placement.replica == home
        totals = sorted(terms.total_ms for terms in placement.candidates.values())
        assert totals[0] < totals[-1] < 1.5 * totals[0]


def test_a_copy_is_dearer_the_fuller_the_cache() -> None:
    taken = []
    for used in (100_000, 300_000, 390_000):
        copy, home = (
            terms_of(Load(0, 0, 100, used, used, 0, 400_000, 1), SPEED, Ask(7_000, hit, 6_000, 0), OUTLOOK)
            for hit in (0, 6_000)
        )
        taken.append(copy.crowd_ms - home.crowd_ms)
        assert copy.ttft_ms - home.ttft_ms == pytest.approx(copy.prefill_ms - home.prefill_ms)
    assert 0 <= taken[0] < 1 < taken[1] < taken[2] / 2


def test_what_is_taken_anywhere_counts_only_for_those_bound_to_the_replica() -> None:
    full = Load(0, 0, 100, 390_000, 390_000, 0, 400_000, 1)
    free, bound = (
        terms_of(full, SPEED, Ask(7_000, 0, 0, 0), Outlook(200, hit_rate, SLO)).crowd_ms for hit_rate in (0.0, 1.0)
    )
    assert free == 0 < bound


def test_where_the_cache_is_full_the_wait_for_room_counts() -> None:
    roomy = terms_of(Load(0, 0, 10, 200_000, 200_000, 0, 400_000, 1), SPEED, Ask(8_000, 0, 0, 0), OUTLOOK)
    full = terms_of(Load(0, 0, 10, 400_000, 400_000, 0, 400_000, 1), SPEED, Ask(8_000, 0, 0, 0), OUTLOOK)
    shared = terms_of(Load(0, 0, 10, 800_000, 200_000, 0, 400_000, 1), SPEED, Ask(8_000, 0, 0, 0), OUTLOOK)
    assert roomy.room_ms == shared.room_ms == 0
    assert full.room_ms == pytest.approx(8_000 / 400_000 * 200 * SPEED.decode_step_ms(10, 400_000))
    assert full.ttft_ms > roomy.ttft_ms


def test_a_stalled_millisecond_weighs_as_the_slo_says() -> None:
    assert OUTLOOK.stall_weight == pytest.approx(0.1)
    assert Outlook(200, 0.5, Slo(500, 30)).stall_weight == pytest.approx(500 / 30 / 200)
    easy, tight = (
        terms_of(
            Load(0, 0, 10, 0, 0, 0, 1e6, 1),
            SPEED,
            Ask(4_000, 0, 0, 0),
            Outlook(200, 0.5, Slo(2_000 * scale, 100 * scale)),
        )
        for scale in (1, 0.3)
    )
    assert tight.others_ms > 2 * easy.others_ms
    assert tight.decode_ms > easy.decode_ms


def test_the_terms_add_up_and_the_delay_grows_with_what_is_there() -> None:
    bare = terms_of(Load(0, 0, 0, 0, 0, 0, 1e6, 1), SPEED, Ask(4_000, 0, 0, 0), OUTLOOK)
    for busier in (Load(50, 0, 0, 0, 0, 0, 1e6, 1), Load(0, 0, 9, 0, 0, 0, 1e6, 1), Load(0, 0, 0, 9e4, 0, 0, 1e6, 1)):
        terms = terms_of(busier, SPEED, Ask(4_000, 0, 0, 0), OUTLOOK)
        assert terms.total_ms > bare.total_ms
        assert terms.total_ms == pytest.approx(sum(terms[:8]))


def test_a_second_copy_costs_what_it_pushes_out_unless_many_follow() -> None:
    nothing = Load(0, 0, 0, 0, 0, 0, 1e6, 1)
    alone, followed = (terms_of(nothing, SPEED, Ask(4_000, 0, 4_000, f), OUTLOOK) for f in (0.0, 9.0))
    holder = terms_of(nothing, SPEED, Ask(4_000, 4_000, 4_000, 0), OUTLOOK)
    assert alone.total_ms - holder.total_ms == pytest.approx(2 * (alone.prefill_ms - holder.prefill_ms))
    assert followed.total_ms - holder.total_ms == pytest.approx(0.2 * (alone.prefill_ms - holder.prefill_ms))
    assert followed.ttft_ms == alone.ttft_ms


def test_where_the_cache_is_full_what_is_pushed_out_counts_by_the_hit_rate() -> None:
    empty, full = (
        terms_of(Load(0, 0, 0, 0, 0, idle, 400_000, 1), SPEED, Ask(4_000, 0, 0, 0), OUTLOOK) for idle in (0, 400_000)
    )
    assert full.total_ms - empty.total_ms == pytest.approx(0.5 * empty.prefill_ms)
    assert full.ttft_ms == empty.ttft_ms


def test_predicted_waits_shrink_as_time_passes_without_news() -> None:
    routing = router()
    first = routing.place(prompt(1, 16_000), ["a"], 0)
    waits = [routing._terms(prompt(2), ["a"], {}, at_ms)["a"].wait_ms for at_ms in (0, 100, 300, 1e6)]
    assert waits[0] == pytest.approx(first.terms.prefill_ms)
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] == 0


def test_a_session_stays_together_and_moves_only_if_its_replica_goes() -> None:
    home = {session: replica_of_session(b"%d" % session, REPLICAS) for session in range(400)}
    without = [replica for replica in REPLICAS if replica != "b"]
    for session, replica in home.items():
        moved = replica_of_session(b"%d" % session, without)
        assert moved == replica or replica == "b"
    counts = [list(home.values()).count(replica) for replica in REPLICAS]
    assert min(counts) > 60
    routing = router()
    chosen = {routing.place(prompt(n), REPLICAS, n, session=b"7").replica for n in range(20)}
    assert chosen == {home[7]}


def test_a_lost_replica_is_forgotten_and_the_rest_is_not() -> None:
    routing = router()
    homes = {number: serve(routing, prompt(number), number).replica for number in range(8)}
    open_there = routing.place(prompt(99), ["a"], 50)
    routing.forget("a")
    for number, home in homes.items():
        hits = routing.index.hits(prompt(number).blocks)
        assert hits.get(home, 0) == (0 if home == "a" else 64)
    routing.finish(open_there, 60, Told())
    assert routing.ledger.total_requests() == 0


def test_an_engine_that_caches_less_than_believed_is_believed_less() -> None:
    routing = router()
    for turn in range(40):
        placement = routing.place(prompt(turn % 2), ["a"], 1_000.0 * turn)
        routing.first_token(placement, 1_000.0 * turn + 300)
        routing.finish(placement, 1_000.0 * turn + 900, Told(20, 4_096, 0))
    assert routing.place(prompt(0), ["a"], 1e6).terms.hit_tokens == 0
    assert routing.accuracy.actual_hit_tokens == 0
    assert routing.accuracy.hit_error_tokens == routing.accuracy.predicted_hit_tokens > 0


def test_answers_that_come_whole_leave_the_queue_when_they_are_due() -> None:
    routing = router()
    placement = routing.place(prompt(1, 16_000), ["a"], 0, shows_first_token=False)
    account = routing.ledger.account("a")
    assert account.load(1, None).decoding_requests == 0
    assert account.load(placement.terms.ttft_ms + 1, None).decoding_requests == 1
    routing.finish(placement, 9_000, Told(100, 16_000, 0, ttft_ms=4_000))
    assert account.requests == 0
    assert routing.accuracy.actual_ttft_ms == 4_000


def test_a_prompt_that_was_cached_unexpectedly_makes_no_replica_a_fast_one() -> None:
    """As the variants of an explanation are, which are computed beside each other."""
    routing = router()
    before = routing.place(prompt(1, 16_000), ["a"], 0, shows_first_token=False)
    routing.finish(before, 1, Told())
    for turn in range(2, 100):
        now_ms = 10_000.0 * turn
        placement = routing.place(prompt(turn, 16_000), ["a"], now_ms, shows_first_token=False)
        terms, speed = placement.terms, routing.estimator.of("a", now_ms)
        really_ms = terms.ttft_ms - terms.prefill_ms + speed.prefill_ms(16_000, 15_000)
        routing.finish(placement, now_ms + really_ms, Told(1, 16_000, 15_000, ttft_ms=really_ms))
    after = routing.place(prompt(0, 16_000), ["a"], 1e6, shows_first_token=False)
    assert after.terms.ttft_ms == pytest.approx(before.terms.ttft_ms, rel=0.1)


def test_of_a_thousand_replicas_the_one_with_the_prefix_is_still_found() -> None:
    many = [f"r{i}" for i in range(1_000)]
    routing = Router(Random(1), SLO)
    home = routing.place(prompt(1), many, 0)
    routing.first_token(home, 200)
    assert routing.place(prompt(1), many, 400).replica == home.replica


def test_no_candidate_is_an_error() -> None:
    with pytest.raises(ValueError, match="no replica"):
        router().place(prompt(1), [], 0)


def test_a_replica_that_broke_the_slo_gets_requests_again() -> None:
    """What is known of it fades: if only those that are sent there could unlearn it, nothing would be."""
    routing = router()
    for replica, took_ms in (("a", 60_000), ("b", 2_000), ("c", 2_000), ("d", 2_000)):
        for number in range(40):
            placement = routing.place(prompt(number), [replica], 0)
            routing.first_token(placement, 100)
            routing.finish(placement, took_ms, Told(100, 4_096, 0))
    soon = [routing.place(prompt(number), REPLICAS, 1e5) for number in range(100, 108)]
    assert "a" not in {placement.replica for placement in soon}
    for placement in soon:
        routing.finish(placement, 2e5, Told())
    late = {routing.place(prompt(number), REPLICAS, 1e8).replica for number in range(200, 208)}
    assert late == set(REPLICAS)


def test_replicas_that_are_level_take_turns() -> None:
    routing = router()
    placed = [routing.place(prompt(number, 64), REPLICAS, 40.0 * number) for number in range(12)]
    replicas = [placement.replica for placement in placed]
    assert replicas[:4] == replicas[4:8] == replicas[8:]
    assert set(replicas) == set(REPLICAS)


def test_a_prefix_that_everybody_uses_is_soon_on_all_replicas() -> None:
    routing = router()
    placed = [routing.place(prompt(1), REPLICAS, 10.0 * number).replica for number in range(40)]
    assert placed[:2] == [placed[0]] * 2
    assert set(placed) == set(REPLICAS)
