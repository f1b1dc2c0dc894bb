"""A request in simulated time."""

import math
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class SimulatedRequest:
    """A request on a replica. `hashes` are of the prompt's full hash blocks; times are simulated milliseconds.

    `finish_step` is the number of the step after which a decoding request is done, -1 while it does not decode.
    """

    index: int
    prompt_tokens: int
    output_tokens: int
    hashes: tuple[int, ...]
    arrived_ms: float
    tenant: str = "anyone"
    replica: int = -1
    dispatched_ms: float = math.nan
    first_token_ms: float = math.nan
    finished_ms: float = math.nan
    cached_tokens: int = -1
    generated: int = 0
    computed: int = 0
    finish_step: int = -1
    pinned: list[int] = field(default_factory=list)
    private_blocks: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.generated

    @property
    def lacks_one_token(self) -> bool:
        """Sent back before, and found whole in the cache: its next step is a decode like any other."""
        return self.generated > 0 and self.computed == self.total_tokens - 1
