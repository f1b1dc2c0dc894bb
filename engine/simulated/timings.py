"""When a request was queued, scheduled, and got its tokens; told as vLLM's `--enable-per-request-metrics` does."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timings:
    """By `time.monotonic`; 0 for what has not come yet."""

    queued_s: float = field(default_factory=time.monotonic)
    scheduled_s: float = 0.0
    first_token_s: float = 0.0
    last_token_s: float = 0.0

    def scheduled(self) -> None:
        self.scheduled_s = self.scheduled_s or time.monotonic()

    def got_token(self) -> None:
        self.last_token_s = time.monotonic()
        self.first_token_s = self.first_token_s or self.last_token_s

    def metrics(self) -> dict[str, float]:
        """The time to first token is since it was scheduled, as vLLM's is."""
        return {
            "time_to_first_token_ms": (self.first_token_s - self.scheduled_s) * 1000,
            "generation_time_ms": (self.last_token_s - self.first_token_s) * 1000,
            "queue_time_ms": (self.scheduled_s - self.queued_s) * 1000,
        }
