"""What the simulated engine keeps of a running sequence, where and as vLLM keeps it: `engine.computed` reads it."""

from dataclasses import dataclass

from engine.simulated.scheduler import Sequence


@dataclass(frozen=True, slots=True)
class TokenStats:
    num_generation_tokens: int


@dataclass(frozen=True, slots=True)
class RequestState:
    """A view of `sequence`, which belongs to the request `external_req_id`."""

    external_req_id: str
    sequence: Sequence

    @property
    def prompt_len(self) -> int:
        return self.sequence.prompt_tokens

    @property
    def num_cached_tokens(self) -> int:
        return self.sequence.cached_tokens

    @property
    def is_prefilling(self) -> bool:
        return not self.sequence.generated

    @property
    def stats(self) -> TokenStats:
        return TokenStats(self.sequence.generated)


class OutputProcessor:
    """`request_states`: of every sequence that has not ended, by its id."""

    def __init__(self) -> None:
        self.request_states: dict[str, RequestState] = {}
