"""The delay that placing a request on a replica causes, in predicted milliseconds. Pure arithmetic.

J = W + R + P + E + λ·u·d·s·P' + λ/(1 − u)·(d·Ô/2·(c_d + c_kv·L) + Ô/2·(c0 + c_d·d + c_kv·KV)) + X + M
E = (3/2 + h)·C/(1 + F) − C + h·e·(P − C)
X = f/2·d·T·(C_tokens + h·private)/used

W: prefill work queued there. R: time until its KV cache has room. P: the request's own uncached prefill; C is the part
of it that another replica has cached, P' is P with C/(1 + F) for C.

E: what is computed pushes out others once the cache is full, which are read again at the hit rate h; e is the part of
it that does. A second copy of a prefix will in any case, some time. But where F requests that decode read it already,
others like them follow, of whom each bears its part.

λ = (TTFT SLO)/(TPOT SLO·Ô): what a millisecond of a decode of Ô tokens counts beside one of waiting for a first token,
each as a part of what the SLO grants. u is the part of the TPOT SLO that answers there take already.

λ·u·d·s·P': the d requests that decode there wait for the share s of that prefill, once. The more of the SLO is used up
already, the likelier it is that they miss it for this.

λ/(1 − u): what lasts counts by what the SLO leaves. Steps of the d lengthened by one sequence and its L tokens, and the
request's own steps beside KV resident tokens. The half: what is there now leaves, at an even pace, in the Ô steps that
the request stays.

X: what waits for room in the KV cache because of what the request takes of it. In the time T that it stays, d others
come, and leave room at the rate used/T. f is the probability that the cache is full by then: used moves by
√(d + d) requests, whose mean square is twice the square of their mean, as exponential sizes have it. A copy takes its
tokens once more; the rest is taken wherever the request goes, and only those bound to this replica, h of all,
cannot avoid it. The half: on average they come when half of T is over.

M: the request misses the SLO for the first token, or for those after it: for each, as much as that SLO grants. Not a
gate before all else: where every replica is full, it would have each request save itself at the others' expense.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

MOST_USED = 0.9


@dataclass(frozen=True, slots=True)
class Slo:
    """What the model promises: milliseconds to the first token, and for each one after it."""

    ttft_ms: float
    tpot_ms: float


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What work takes on a replica: prefill per uncached token and per million attended pairs, and a decode step.

    `stall_share`: the part of a prefill that requests which decode beside it wait for; short ones share a step.
    """

    prefill_ms_per_token: float
    prefill_ms_per_mpair: float
    step_ms: float
    step_ms_per_sequence: float
    step_ms_per_ktoken: float
    stall_share: float = 1.0

    def prefill_ms(self, prompt_tokens: float, hit_tokens: float) -> float:
        uncached = max(1.0, prompt_tokens - hit_tokens)
        mpairs = attended_mpairs(prompt_tokens, uncached)
        return self.prefill_ms_per_token * uncached + self.prefill_ms_per_mpair * mpairs

    def decode_step_ms(self, decoding: float, resident_tokens: float) -> float:
        return self.step_ms + self.step_ms_per_sequence * decoding + self.step_ms_per_ktoken * resident_tokens / 1000

    def slower(self, prefill: float, step: float) -> "Coefficients":
        """Of a replica that takes so many times longer for each."""
        return Coefficients(
            prefill * self.prefill_ms_per_token,
            prefill * self.prefill_ms_per_mpair,
            step * self.step_ms,
            step * self.step_ms_per_sequence,
            step * self.step_ms_per_ktoken,
            self.stall_share,
        )


def attended_mpairs(prompt_tokens: float, uncached_tokens: float) -> float:
    """Every uncached token attends to all tokens before it; in millions of pairs."""
    return uncached_tokens * (prompt_tokens - uncached_tokens / 2) / 1e6


class Load(NamedTuple):
    """What is on a replica as far as this gateway knows. `stretch`: how many decode steps a token takes there.

    `resident_tokens` are counted for every request that attends to them, `used_tokens` as the KV cache of
    `cache_tokens` holds them: once if shared. `idle_tokens` are cached and in nobody's use. `cache_tokens` is infinite
    where it is not known.
    """

    queued_prefill_ms: float
    waiting_requests: int
    decoding_requests: float
    resident_tokens: float
    used_tokens: float
    idle_tokens: float
    cache_tokens: float
    stretch: float


class Ask(NamedTuple):
    """A request as one replica meets it. `best_hit_tokens`: the longest hit on any. `followers`: F."""

    prompt_tokens: float
    hit_tokens: float
    best_hit_tokens: float
    followers: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of the model's requests: Ô, h, and what they are promised."""

    output_tokens: float
    hit_rate: float
    slo: Slo
    stall_weight_scale: float = 1.0

    @property
    def stall_weight(self) -> float:
        """λ."""
        return self.stall_weight_scale * self.slo.ttft_ms / (self.slo.tpot_ms * max(1.0, self.output_tokens))

    def tpot_used(self, tpot_ms: float) -> float:
        """u, at most nine tenths: what is beyond the SLO still counts, and by no more than tenfold."""
        return min(MOST_USED, tpot_ms / self.slo.tpot_ms)


class Terms(NamedTuple):
    """The parts of J, in milliseconds, what they predict for the request itself, and what is there."""

    wait_ms: float
    room_ms: float
    prefill_ms: float
    cache_ms: float
    others_ms: float
    decode_ms: float
    crowd_ms: float
    miss_ms: float
    total_ms: float
    ttft_ms: float
    tpot_ms: float
    hit_tokens: float
    waiting_requests: int
    decoding_requests: float


def terms_of(load: Load, speed: Coefficients, ask: Ask, outlook: Outlook) -> Terms:
    """J and its parts: `cache_ms` is E, `others_ms` both terms with d, weighed, `crowd_ms` X, `miss_ms` M."""
    output_tokens, decoding = outlook.output_tokens, load.decoding_requests
    prefill_ms = speed.prefill_ms(ask.prompt_tokens, ask.hit_tokens)
    copied_ms = prefill_ms - speed.prefill_ms(ask.prompt_tokens, ask.best_hit_tokens)
    borne_ms = copied_ms / (1 + ask.followers)
    cache_ms = (1.5 + outlook.hit_rate) * borne_ms - copied_ms
    cache_ms += outlook.hit_rate * _evicted_share(load, ask) * (prefill_ms - copied_ms)
    step_ms = speed.decode_step_ms(decoding, load.resident_tokens)
    token_ms = step_ms * load.stretch
    room_ms = _room_ms(load, ask, output_tokens * token_ms)
    weight, used = outlook.stall_weight, outlook.tpot_used(token_ms)
    lasting_weight = weight / (1 - used)
    per_step_ms = speed.step_ms_per_sequence + speed.step_ms_per_ktoken * ask.prompt_tokens / 1000
    stalled_ms = decoding * speed.stall_share * (prefill_ms - copied_ms + borne_ms)
    others_ms = weight * used * stalled_ms + lasting_weight * decoding * output_tokens / 2 * per_step_ms
    decode_ms = lasting_weight * output_tokens / 2 * step_ms
    crowd_ms = _crowd_ms(load, ask, outlook, output_tokens * token_ms)
    until_prefilled_ms = load.queued_prefill_ms + room_ms + prefill_ms
    ttft_ms = until_prefilled_ms + step_ms
    miss_ms = outlook.slo.ttft_ms * ((ttft_ms > outlook.slo.ttft_ms) + (token_ms > outlook.slo.tpot_ms))
    return Terms(
        load.queued_prefill_ms,
        room_ms,
        prefill_ms,
        cache_ms,
        others_ms,
        decode_ms,
        crowd_ms,
        miss_ms,
        until_prefilled_ms + cache_ms + others_ms + decode_ms + crowd_ms + miss_ms,
        ttft_ms,
        token_ms,
        ask.hit_tokens,
        load.waiting_requests,
        decoding,
    )


def _uncached_tokens(ask: Ask) -> float:
    return max(1.0, ask.prompt_tokens - ask.hit_tokens)


def _evicted_share(load: Load, ask: Ask) -> float:
    """e."""
    uncached_tokens = _uncached_tokens(ask)
    evicted_tokens = uncached_tokens + load.used_tokens + load.idle_tokens - load.cache_tokens
    return min(1.0, max(0.0, evicted_tokens / uncached_tokens))


def _room_ms(load: Load, ask: Ask, stay_ms: float) -> float:
    """R: what is used leaves at an even pace in the time that a request stays."""
    lacking_tokens = _uncached_tokens(ask) + load.used_tokens - load.cache_tokens
    if lacking_tokens <= 0 or load.used_tokens <= 0:
        return 0.0
    return lacking_tokens / load.used_tokens * stay_ms


def _crowd_ms(load: Load, ask: Ask, outlook: Outlook, stay_ms: float) -> float:
    """X."""
    decoding, used_tokens = load.decoding_requests, load.used_tokens
    if decoding <= 0 or used_tokens <= 0 or math.isinf(load.cache_tokens):
        return 0.0
    private_tokens = ask.prompt_tokens - ask.best_hit_tokens + outlook.output_tokens / 2
    taken_tokens = ask.best_hit_tokens - ask.hit_tokens + outlook.hit_rate * private_tokens
    deviation_tokens = 2 * math.sqrt(decoding) * used_tokens / decoding
    spare_tokens = load.cache_tokens - used_tokens - taken_tokens
    full = math.erfc(spare_tokens / deviation_tokens / math.sqrt(2)) / 2
    return full / 2 * decoding * stay_ms * taken_tokens / used_tokens
