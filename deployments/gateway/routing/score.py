"""The delay that placing a request on a replica causes, in predicted milliseconds. Pure arithmetic.

J = W + P + λ·d·(P + Ô·(c_batch + c_kv·L)) + Ô·(c0 + c_kv·KV)

W: prefill work queued there. P: the request's own uncached prefill. d: requests decoding there, each of which P stalls
and whose every step the request then makes longer by its own context L for its Ô output tokens. Last, the request's own
decoding beside the KV tokens resident there.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What work takes on a replica: its prefill per uncached token and per million attended pairs, its decode step."""

    prefill_ms_per_token: float
    prefill_ms_per_mpair: float
    step_ms: float
    step_ms_per_ktoken: float

    def prefill_ms(self, prompt_tokens: float, hit_tokens: float) -> float:
        """Attention pairs: every uncached token sees all before it."""
        uncached = max(1.0, prompt_tokens - hit_tokens)
        mpairs = uncached * (prompt_tokens - uncached / 2) / 1e6
        return self.prefill_ms_per_token * uncached + self.prefill_ms_per_mpair * mpairs

    def decode_step_ms(self, resident_tokens: float) -> float:
        return self.step_ms + self.step_ms_per_ktoken * resident_tokens / 1000


@dataclass(frozen=True, slots=True)
class Load:
    """What is on a replica as far as this gateway knows."""

    queued_prefill_ms: float
    decoding_requests: float
    resident_tokens: float


@dataclass(frozen=True, slots=True)
class Terms:
    """The parts of J, and what they predict for the request itself. All in milliseconds."""

    wait_ms: float
    prefill_ms: float
    others_ms: float
    decode_ms: float
    step_ms: float

    @property
    def total_ms(self) -> float:
        return self.wait_ms + self.prefill_ms + self.others_ms + self.decode_ms

    @property
    def ttft_ms(self) -> float:
        return self.wait_ms + self.prefill_ms + self.step_ms


def terms_of(
    load: Load, coefficients: Coefficients, prompt_tokens: float, hit_tokens: float, output_tokens: float, weight: float
) -> Terms:
    """`output_tokens`: expected, Ô. `weight`: λ, what a stalled millisecond of another request counts."""
    prefill_ms = coefficients.prefill_ms(prompt_tokens, hit_tokens)
    step_ms = coefficients.decode_step_ms(load.resident_tokens)
    lengthened_ms = output_tokens * coefficients.step_ms_per_ktoken * prompt_tokens / 1000
    return Terms(
        wait_ms=load.queued_prefill_ms,
        prefill_ms=prefill_ms,
        others_ms=weight * load.decoding_requests * (prefill_ms + lengthened_ms),
        decode_ms=output_tokens * step_ms,
        step_ms=step_ms,
    )
