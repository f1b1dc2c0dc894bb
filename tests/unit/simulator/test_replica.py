"""The fast replica does what the scheduler does step by step."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.simulator.replica import Replica
from cluster.simulator.request import SimulatedRequest
from engine.simulated.scheduler import Scheduler, Sequence
from engine.simulated.step_time import StepTime

STEP_TIME = StepTime(10.0, 32, 0.05, 0.1, 0.9, 2.0, 1.5)
KV_TOKENS = 640
Workload = list[tuple[int, int, int, int]]

requests = st.tuples(st.integers(0, 400), st.integers(1, 300), st.integers(1, 80), st.integers(0, 2))


def stepwise(workload: Workload) -> list[tuple[float, float, int]]:
    """(first token, end, cached tokens) of each, one step at a time."""
    scheduler = Scheduler(KV_TOKENS)
    sequences = [Sequence(str(i), p, o, hashes(p, group)) for i, (_, p, o, group) in enumerate(workload)]
    first, end = {}, {}
    now_ms, arrived = 0.0, 0
    while len(end) < len(workload):
        while arrived < len(workload) and workload[arrived][0] <= now_ms:
            scheduler.add(sequences[arrived])
            arrived += 1
        step = scheduler.plan_step()
        if step is None:
            assert arrived < len(workload), "a request that fits is always served"
            now_ms = float(workload[arrived][0])
            continue
        now_ms += STEP_TIME.of(step.load)
        for sequence in scheduler.finish_step(step):
            first.setdefault(sequence.id, now_ms)
            if sequence.is_finished:
                end[sequence.id] = now_ms
    return [(first[s.id], end[s.id], s.cached_tokens) for s in sequences]


def many_at_a_time(workload: Workload) -> list[tuple[float, float, int]]:
    replica = Replica(STEP_TIME, KV_TOKENS, hash_tokens=16)
    asked = [SimulatedRequest(i, p, o, hashes(p, group), float(at)) for i, (at, p, o, group) in enumerate(workload)]
    arrived = 0
    while arrived < len(asked) or replica.next_event_ms < math.inf:
        if arrived < len(asked) and asked[arrived].arrived_ms <= replica.next_event_ms:
            replica.submit(asked[arrived], asked[arrived].arrived_ms)
            arrived += 1
        else:
            replica.advance()
    return [(r.first_token_ms, r.finished_ms, r.cached_tokens) for r in asked]


def hashes(prompt_tokens: int, group: int) -> tuple[int, ...]:
    return tuple(1000 * group + i for i in range(prompt_tokens // 16))


@settings(max_examples=300, deadline=None)
@example([(0, 1, 1, 0), (24, 38, 28, 1), (91, 1, 59, 0), (119, 119, 18, 1), (280, 168, 80, 2), (372, 288, 2, 0)])
@given(st.lists(requests, min_size=1, max_size=30))
def test_both_schedulers_agree_on_every_request(workload: Workload) -> None:
    apart = sorted({at: (at, p, o, g) for at, p, o, g in workload}.values())
    for slow, fast in zip(stepwise(apart), many_at_a_time(apart), strict=True):
        assert fast[:2] == pytest.approx(slow[:2], rel=1e-9)
        assert fast[2] == slow[2]
