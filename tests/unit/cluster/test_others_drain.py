"""The head and state outlive what drains elsewhere, and a head that goes alone is hardly held up."""

from cluster.others_drain import TO_BE_TOLD_S, wait_for_others


def waited_s(counts: list[int], within_s: float) -> float:
    """One count for each second; the last one stays."""
    now_s = [0.0]

    def draining() -> int:
        return counts.pop(0) if len(counts) > 1 else counts[0]

    wait_for_others(within_s, draining, lambda: now_s[0], lambda s: now_s.__setitem__(0, now_s[0] + s))
    return now_s[0]


def test_alone_it_waits_only_until_others_would_have_begun() -> None:
    assert waited_s([0], within_s=195) == TO_BE_TOLD_S


def test_it_waits_for_the_last_of_those_that_began_late() -> None:
    assert waited_s([0] * 10 + [3] * 60 + [1] * 20 + [0], within_s=195) == 90


def test_it_waits_no_longer_than_it_may() -> None:
    assert waited_s([1], within_s=195) == 195
