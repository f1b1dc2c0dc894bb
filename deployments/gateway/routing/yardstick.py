"""What work takes in truth, for whoever sizes replicas and does not only compare them.

The estimator serves the choice among replicas: what is wrong for all alike does no harm there, so it learns with care.
A model whose prefills take fifty times what was taken for granted must be known within some dozens of requests, or too
few replicas are asked for. And a token takes no longer alone than beside others: a fit to a replica that was never
idle may say so.
"""

from dataclasses import replace

from deployments.gateway.routing.score import Coefficients

REMEMBERED_REQUESTS = 100.0
PRIOR_REQUESTS = 3.0
MOST_SURPRISE = 4.0
NEARLY_RIGHT = 2.0
FAST_TOKEN_LEVEL = 0.05
FAST_TOKEN_STEP = 0.05
LEAST_TOKENS = 8
HIT_RATE_PRIOR = 0.5


class Yardstick:
    """Told of every request of one gateway, whichever replica it was on."""

    def __init__(self) -> None:
        self._requests = self._predicted_ms = self._observed_ms = 0.0
        self._fast_token_ms: float | None = None
        self._prompt_tokens = self._cached_tokens = 0.0

    @property
    def hit_rate(self) -> float:
        """Of the prompts of late: as long as nothing is known, a half."""
        known = self._prompt_tokens or 1.0
        return self._cached_tokens / known if self._prompt_tokens else HIT_RATE_PRIOR

    def saw_prefill(self, predicted_ms: float, busy_ms: float) -> None:
        """A replica took `busy_ms` for it, and nothing was before it: one that is full computes answers meanwhile, too.
        One that stood still for a while does not count for more than it must.
        """
        if predicted_ms <= 0 or busy_ms <= 0:
            return
        keep = 1 - 1 / REMEMBERED_REQUESTS
        most_ms = MOST_SURPRISE * self._scale * predicted_ms
        self._requests = keep * self._requests + 1
        self._predicted_ms = keep * self._predicted_ms + predicted_ms
        self._observed_ms = keep * self._observed_ms + min(busy_ms, most_ms)

    def saw_hit(self, prompt_tokens: float, cached_tokens: float) -> None:
        keep = 1 - 1 / REMEMBERED_REQUESTS
        self._prompt_tokens = keep * self._prompt_tokens + prompt_tokens
        self._cached_tokens = keep * self._cached_tokens + min(prompt_tokens, cached_tokens)

    def saw_decode(self, output_tokens: int, decode_ms: float) -> None:
        """From first to last token. Keeps what nineteen of twenty answers took more than for each token."""
        if output_tokens < LEAST_TOKENS or decode_ms <= 0:
            return
        token_ms = decode_ms / (output_tokens - 1)
        if self._fast_token_ms is None:
            self._fast_token_ms = token_ms
        elif token_ms < self._fast_token_ms:
            self._fast_token_ms *= 1 - FAST_TOKEN_STEP * (1 - FAST_TOKEN_LEVEL)
        else:
            self._fast_token_ms *= 1 + FAST_TOKEN_STEP * FAST_TOKEN_LEVEL

    def measured(self, estimated: Coefficients) -> Coefficients:
        """The same shape, at the pace that was seen. What is nearly right the fit knows better."""
        fast_ms, scale = self._fast_token_ms, self._scale
        if 1 / NEARLY_RIGHT < scale < NEARLY_RIGHT:
            scale = 1.0
        return replace(
            estimated,
            prefill_ms_per_token=scale * estimated.prefill_ms_per_token,
            prefill_ms_per_mpair=scale * estimated.prefill_ms_per_mpair,
            step_ms=estimated.step_ms if fast_ms is None else min(estimated.step_ms, fast_ms),
        )

    @property
    def _scale(self) -> float:
        if not self._requests:
            return 1.0
        prior_ms = PRIOR_REQUESTS * self._predicted_ms / self._requests
        return (self._observed_ms + prior_ms) / (self._predicted_ms + prior_ms)
