"""What one request used, in tokens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spent:
    """What was delivered: as the engine counts it if the answer is complete, else as far as it went.

    `cached_tokens` are part of `prompt_tokens`. `surplus_tokens`: computed and not delivered, as far as known now.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    surplus_tokens: int = 0

    @property
    def tokens(self) -> int:
        """What counts for limits."""
        return self.prompt_tokens + self.output_tokens
