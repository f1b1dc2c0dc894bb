"""How long one engine step takes: the model that the simulated engine keeps time by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepLoad:
    """Tokens computed, prefill attention in millions of token pairs, context tokens of the decodes."""

    tokens: int
    attention_mpairs: float
    decode_context_tokens: int


@dataclass(frozen=True, slots=True)
class StepTime:
    """ms = c0 + c_low·min(N, knee) + c_tok·max(N − knee, 0) + c_attn·pairs + c_kv·KV/1000 + host.

    Fitted to AIConfigurator-core 0.12's measured vLLM kernels, 2 to 5 % off them; `host_ms` is the scheduler's own
    time on the CPU, 1 to 2 ms.
    """

    c0_ms: float
    knee_tokens: int
    c_low_ms: float
    c_tok_ms: float
    c_attn_ms: float
    c_kv_ms: float
    host_ms: float

    def of(self, load: StepLoad) -> float:
        """Milliseconds for this step."""
        below = min(load.tokens, self.knee_tokens)
        return (
            self.c0_ms
            + self.c_low_ms * below
            + self.c_tok_ms * (load.tokens - below)
            + self.c_attn_ms * load.attention_mpairs
            + self.c_kv_ms * load.decode_context_tokens / 1000
            + self.host_ms
        )


def prefill_mpairs(chunk_tokens: int, context_tokens: int) -> float:
    """Token pairs that a prefill chunk attends over, in millions, given what is already computed before it."""
    return chunk_tokens * (context_tokens + chunk_tokens / 2) / 1e6
