"""What work takes on each replica, learned from what the gateway sees: no configuration, no calibration run.

The shape is the model's, fitted over all replicas; how fast one replica is compared with the others is a factor of its
own, so that a new replica starts with what is known and a slower GPU is found out within some dozens of requests. One
that nothing is known of is taken to be as fast as the others: else the first to be faster than the prior gets it all.
"""

import math
from dataclasses import dataclass, field

from deployments.gateway.routing.fit import Factor, LinearFit
from deployments.gateway.routing.score import Coefficients, attended_mpairs

PREFILL_PRIOR_MS = (0.05, 1.5)
STEP_PRIOR_MS = (20.0, 0.03, 0.03, 1.0)
FACTOR_PRIOR_MS = 2_000.0
FACTOR_MEMORY_MS = 60_000.0
FACTOR_HALF_LIFE_MS = 300_000.0
PREFILLS_PER_SAMPLE = 8
OUTPUT_PRIOR_TOKENS = 200.0
OUTPUT_MEMORY = 0.02
HIT_RATE_PRIOR = 0.5
HIT_RATE_MEMORY = 0.01


@dataclass(slots=True)
class _Replica:
    """Factors against the fleet's shape, and prefills seen since the last sample: several can end in one step."""

    prefill: Factor = field(default_factory=lambda: Factor(FACTOR_PRIOR_MS, FACTOR_MEMORY_MS))
    step: Factor = field(default_factory=lambda: Factor(FACTOR_PRIOR_MS, FACTOR_MEMORY_MS))
    prefills: int = 0
    uncached_tokens: float = 0.0
    mpairs: float = 0.0
    busy_ms: float = 0.0
    seen_ms: float = 0.0

    def kept(self, now_ms: float) -> float:
        """How much its factors still say. What was slow is tried again some time, or nothing could unlearn it."""
        return math.pow(0.5, max(0.0, now_ms - self.seen_ms) / FACTOR_HALF_LIFE_MS)


class Estimator:
    """Coefficients per replica, and how long answers are. Priors are those of a 70B model on four H100s."""

    def __init__(self) -> None:
        self._prefill = LinearFit(PREFILL_PRIOR_MS)
        self._step = LinearFit(STEP_PRIOR_MS)
        self._replicas: dict[str, _Replica] = {}
        self._fleet = _Replica()
        self._shape = Coefficients(*PREFILL_PRIOR_MS, *STEP_PRIOR_MS)
        self.output_tokens = OUTPUT_PRIOR_TOKENS
        self.hit_rate = HIT_RATE_PRIOR

    def of(self, replica: str, now_ms: float) -> Coefficients:
        prefill, step = self._fleet.prefill.value(), self._fleet.step.value()
        seen = self._replicas.get(replica)
        if seen is None:
            return self._shape.slower(prefill, step)
        kept = seen.kept(now_ms)
        return self._shape.slower(seen.prefill.value(kept, prefill), seen.step.value(kept, step))

    def saw_prefill(self, replica: str, now_ms: float, prompt_tokens: float, hit_tokens: float, busy_ms: float) -> None:
        """The replica took `busy_ms` for this prefill and nothing else that is known of."""
        uncached = max(1.0, prompt_tokens - hit_tokens)
        seen = self._seen(replica, now_ms)
        seen.prefills += 1
        seen.uncached_tokens += uncached
        seen.mpairs += attended_mpairs(prompt_tokens, uncached)
        seen.busy_ms += busy_ms
        if seen.prefills < PREFILLS_PER_SAMPLE:
            return
        per_token, per_mpair = self._prefill.coefficients
        predicted_ms = per_token * seen.uncached_tokens + per_mpair * seen.mpairs
        factor = seen.prefill.value(usual=self._fleet.prefill.value())
        self._prefill.add((seen.uncached_tokens, seen.mpairs), seen.busy_ms / factor)
        self._compare_prefill(seen, seen.busy_ms, predicted_ms)
        seen.prefills, seen.uncached_tokens, seen.mpairs, seen.busy_ms = 0, 0.0, 0.0, 0.0
        self._refit()

    def saw_ttft(self, replica: str, now_ms: float, predicted_ms: float, observed_ms: float) -> None:
        """Of an answer that came whole, the engine told how long its first token took, waiting included."""
        self._compare_prefill(self._seen(replica, now_ms), observed_ms, predicted_ms)

    def saw_decode(
        self,
        replica: str,
        now_ms: float,
        output_tokens: int,
        decode_ms: float,
        prefills_ms: float,
        decoding: float,
        resident_tokens: float,
    ) -> None:
        """`decode_ms`: from first to last token, beside so many requests, `prefills_ms` of prefill, as predicted."""
        self.output_tokens += OUTPUT_MEMORY * (output_tokens - self.output_tokens)
        if output_tokens < 2 or decode_ms <= 0:
            return
        seen = self._seen(replica, now_ms)
        steps = output_tokens - 1
        stalled_ms = prefills_ms / seen.prefill.value(usual=self._fleet.prefill.value())
        features = (1.0, decoding, resident_tokens / 1000, stalled_ms / steps)
        self._step.add(features, decode_ms / steps / seen.step.value(usual=self._fleet.step.value()))
        shape = self._shape
        predicted_ms = shape.decode_step_ms(decoding, resident_tokens) * steps + shape.stall_share * stalled_ms
        seen.step.add(decode_ms, predicted_ms)
        self._fleet.step.add(decode_ms, predicted_ms)
        self._refit()

    def saw_hit(self, prompt_tokens: float, cached_tokens: float) -> None:
        self.hit_rate += HIT_RATE_MEMORY * (min(1.0, cached_tokens / prompt_tokens) - self.hit_rate)

    def forget(self, replica: str) -> None:
        self._replicas.pop(replica, None)

    def _compare_prefill(self, seen: _Replica, observed_ms: float, predicted_ms: float) -> None:
        seen.prefill.add(observed_ms, predicted_ms)
        self._fleet.prefill.add(observed_ms, predicted_ms)

    def _seen(self, replica: str, now_ms: float) -> _Replica:
        seen = self._replicas.setdefault(replica, _Replica())
        seen.seen_ms = max(seen.seen_ms, now_ms)
        return seen

    def _refit(self) -> None:
        self._shape = Coefficients(*self._prefill.coefficients, *self._step.coefficients)
