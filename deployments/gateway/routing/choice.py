"""Step 4: which replica. One pure function to replace."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica with room. Tokens and requests are this gateway's own, in flight there."""

    replica_id: str
    in_flight_prompt_tokens: int
    in_flight_requests: int


def choose(candidates: Sequence[Candidate], random: Random) -> Candidate:
    """The candidate with the fewest prompt tokens in flight, then the fewest requests; ties at random.

    Raises:
        ValueError: there is no candidate.
    """
    least = min((c.in_flight_prompt_tokens, c.in_flight_requests) for c in candidates)
    tied = [c for c in candidates if (c.in_flight_prompt_tokens, c.in_flight_requests) == least]
    return tied[0] if len(tied) == 1 else random.choice(tied)
