"""How well predictions fit what came: sums over finished requests, for metrics and for whoever tunes the model."""

from dataclasses import dataclass


@dataclass(slots=True)
class Accuracy:
    """Tokens of prefix hits and milliseconds to first token, predicted and actual, and the sums of their distances."""

    requests: int = 0
    predicted_hit_tokens: float = 0.0
    actual_hit_tokens: float = 0.0
    hit_error_tokens: float = 0.0
    ttfts: int = 0
    predicted_ttft_ms: float = 0.0
    actual_ttft_ms: float = 0.0
    ttft_error_ms: float = 0.0

    def saw_hit(self, predicted_tokens: float, actual_tokens: float) -> None:
        self.requests += 1
        self.predicted_hit_tokens += predicted_tokens
        self.actual_hit_tokens += actual_tokens
        self.hit_error_tokens += abs(predicted_tokens - actual_tokens)

    def saw_ttft(self, predicted_ms: float, actual_ms: float) -> None:
        self.ttfts += 1
        self.predicted_ttft_ms += predicted_ms
        self.actual_ttft_ms += actual_ms
        self.ttft_error_ms += abs(predicted_ms - actual_ms)
