"""Step 4: which replica. Everything a gateway knows of one model's replicas, and the choice it makes of it.

No clock and no I/O: the caller gives the time, so that the simulator runs this very code.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from deployments.gateway.routing.accuracy import Accuracy
from deployments.gateway.routing.affinity import replica_of_session
from deployments.gateway.routing.estimator import Estimator
from deployments.gateway.routing.hold import Hold, Outstanding, open_to
from deployments.gateway.routing.ledger import Dispatch, Ledger, ReplicaAccount
from deployments.gateway.routing.others import mean_of_fresh
from deployments.gateway.routing.prefix_index import PrefixIndex
from deployments.gateway.routing.score import Ask, Outlook, Slo, Terms, terms_of
from deployments.gateway.routing.yardstick import Yardstick

INDEX_BYTES = 32 * 2**20
DRAWN = 32
LEVEL = 0.04
BURST = 3.0
CACHE_STEP = 0.01
MOST_CACHE_STEP = 0.25
SLACK_TOKENS = 32.0
SLACK_SHARE = 0.02
STRETCH_MEMORY = 0.05
TYPICAL_MEMORY = 0.02
ANY_REPLICA = "any replica"


@dataclass(frozen=True, slots=True)
class Prompt:
    """`blocks`: chained hashes of its beginning; `ends`: prompt tokens up to the end of each; `tokens`: all of them."""

    tokens: float
    blocks: Sequence[int] = ()
    ends: Sequence[float] = ()

    def tokens_at(self, depth: int) -> float:
        """Prompt tokens of the first `depth` blocks."""
        return self.ends[depth - 1] if depth else 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """The choice, and why: the terms of the replica chosen, and of every candidate."""

    dispatch: Dispatch
    prompt: Prompt
    terms: Terms
    depth: int
    candidates: dict[str, Terms]

    @property
    def replica(self) -> str:
        return self.dispatch.replica


@dataclass(frozen=True, slots=True)
class Told:
    """What the engine said of a finished request; None where it says nothing. `ttft_ms` is by its own clock."""

    output_tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    ttft_ms: float | None = None


class Router:
    """Chooses among replicas of one model, for one gateway."""

    def __init__(
        self, random: Random, slo: Slo, index_bytes: int = INDEX_BYTES, stall_weight_scale: float = 1.0
    ) -> None:
        self.slo = slo
        self.accuracy = Accuracy()
        self._stall_weight_scale = stall_weight_scale
        self.ledger = Ledger()
        self.index = PrefixIndex(index_bytes)
        self.estimator = Estimator()
        self.yardstick = Yardstick()
        self.typical_prefill_ms = 0.0
        self._placed = 0
        self._random = random
        self._cache_tokens: dict[str, float] = {}
        self._believed_cache_tokens: dict[str, float] = {}
        self._cache_steps: dict[str, float] = {}
        self._theirs: dict[tuple[str, str], Placement] = {}

    def place(
        self,
        prompt: Prompt,
        candidates: Sequence[str],
        now_ms: float,
        *,
        session: bytes | None = None,
        shows_first_token: bool = True,
    ) -> Placement:
        """Choose the replica where the request causes the least delay, and book it there.

        Of replicas that differ by less than predictions err it is one with the longest hit, and of these the one that
        has got no request for longest: as even in time as round robin. A session goes where its hash says.

        Raises:
            ValueError: there is no candidate.
        """
        placed = self.place_if_open(
            prompt, candidates, now_ms, None, session=session, shows_first_token=shows_first_token
        )
        assert placed is not None
        return placed

    def place_if_open(
        self,
        prompt: Prompt,
        candidates: Sequence[str],
        now_ms: float,
        hold: Hold | None,
        *,
        session: bytes | None = None,
        shows_first_token: bool = True,
    ) -> Placement | None:
        """The same among replicas that are open to it, as `hold` has it; None if none is.

        Raises:
            ValueError: there is no candidate.
        """
        if not candidates:
            raise ValueError("there is no replica to choose from")
        depths = self.index.hits(prompt.blocks)
        sticks_to = replica_of_session(session, candidates) if session else None
        asked = [sticks_to] if sticks_to and hold is None else self._worth_scoring(candidates, depths)
        terms = self._terms(prompt, asked, depths, now_ms)
        eligible = terms if hold is None else self._open_ones(terms, hold)
        if not eligible:
            return None
        chosen = sticks_to if sticks_to in eligible else self._least(eligible)
        self._placed += 1
        part = max(TYPICAL_MEMORY, 1 / self._placed)
        self.typical_prefill_ms += part * (terms[chosen].prefill_ms - self.typical_prefill_ms)
        return self._open(
            prompt,
            chosen,
            terms,
            depths.get(chosen, 0),
            now_ms,
            is_ours=True,
            shows_first_token=shows_first_token,
            is_favoured=hold is not None and hold.hurries,
        )

    def _open_ones(self, terms: dict[str, Terms], hold: Hold) -> dict[str, Terms]:
        there = {
            replica: Outstanding(
                term.wait_ms + term.room_ms,
                term.prefill_ms,
                self.ledger.account(replica).favoured_waiting > 0,
                term.hit_tokens,
            )
            for replica, term in terms.items()
        }
        return {replica: terms[replica] for replica in open_to(there, hold)}

    def _least(self, terms: dict[str, Terms]) -> str:
        least_ms = min(term.total_ms for term in terms.values())
        level = {replica: term for replica, term in terms.items() if term.total_ms <= (1 + LEVEL) * least_ms}
        longest_tokens = max(term.hit_tokens for term in level.values())
        dispatched_ms = {
            replica: self.ledger.account(replica).dispatched_ms
            for replica, term in level.items()
            if term.hit_tokens == longest_tokens
        }
        earliest_ms = min(dispatched_ms.values())
        return self._random.choice([replica for replica, at_ms in dispatched_ms.items() if at_ms == earliest_ms])

    def _worth_scoring(self, candidates: Sequence[str], depths: dict[str, int]) -> Sequence[str]:
        """All, or of very many those with the longest hits and as many at random: the least of 32 drawn is among the
        best 3 % on average, and gateways that draw differently do not herd.
        """
        if len(candidates) <= 2 * DRAWN:
            return candidates
        among = set(candidates)
        longest = heapq.nlargest(DRAWN, (replica for replica in depths if replica in among), key=depths.__getitem__)
        return list({*longest, *self._random.sample(list(candidates), DRAWN)})

    def _terms(
        self, prompt: Prompt, candidates: Sequence[str], depths: dict[str, int], now_ms: float
    ) -> dict[str, Terms]:
        outlook = Outlook(self.estimator.output_tokens, self.estimator.hit_rate, self.slo, self._stall_weight_scale)
        best_depth = max((depths.get(replica, 0) for replica in candidates), default=0)
        best_hit_tokens, followers = prompt.tokens_at(best_depth), 0.0
        if best_depth:
            block = prompt.blocks[best_depth - 1]
            followers = max(
                self._followers(replica, block) for replica in candidates if depths.get(replica, 0) == best_depth
            )
        elsewhere = mean_of_fresh(self.ledger.theirs(), now_ms) if self._theirs else None
        terms = {}
        for replica in candidates:
            cache_tokens = self._cache_tokens.get(replica, float("inf"))
            shared_tokens = self.index.read_tokens(replica)
            idle_tokens = self.index.held_tokens(replica) - shared_tokens
            account = self.ledger.account(replica)
            load = account.load(now_ms, elsewhere, shared_tokens, idle_tokens, cache_tokens)
            hit_tokens = prompt.tokens_at(depths.get(replica, 0))
            ask = Ask(prompt.tokens, hit_tokens, best_hit_tokens, followers)
            terms[replica] = terms_of(load, self.estimator.of(replica, now_ms), ask, outlook)
        return terms

    def _followers(self, replica: str, block: int) -> float:
        """Requests decoding there that read this block, times the share that such requests have of all there.

        Those that wait count less: they may be one burst, which is served best where it is.
        """
        account, readers = self.ledger.account(replica), self.index.readers(replica, block)
        if not readers or not account.requests:
            return 0.0
        lasting = account.decoding + len(account.waiting) / BURST
        return lasting * (readers / account.requests) ** 2

    def first_token(self, placement: Placement, now_ms: float) -> None:
        dispatch = placement.dispatch
        busy_ms = self.ledger.first_token(dispatch, now_ms)
        if dispatch.is_ours:
            self.accuracy.saw_ttft(placement.terms.ttft_ms, now_ms - dispatch.dispatched_ms)
        if busy_ms >= now_ms - dispatch.dispatched_ms:
            estimated = self.estimator.of(ANY_REPLICA, now_ms)
            predicted_ms = estimated.prefill_ms(dispatch.prompt_tokens, dispatch.hit_tokens)
            self.yardstick.saw_prefill(predicted_ms, busy_ms)
        self.estimator.saw_prefill(dispatch.replica, now_ms, dispatch.prompt_tokens, dispatch.hit_tokens, busy_ms)

    def finish(self, placement: Placement, now_ms: float, told: Told) -> None:
        """It ended, with what the engine told of it."""
        dispatch = placement.dispatch
        if not dispatch.shows_first_token and told.ttft_ms is not None:
            if not placement.terms.wait_ms:
                self.yardstick.saw_prefill(placement.terms.ttft_ms, told.ttft_ms)
            expected_ms = self._expected_ttft_ms(placement, told, now_ms)
            self.estimator.saw_ttft(dispatch.replica, now_ms, expected_ms, told.ttft_ms)
            self.accuracy.saw_ttft(placement.terms.ttft_ms, told.ttft_ms)
        account = self.ledger.close(dispatch, now_ms)
        self.index.release(dispatch.replica, placement.prompt.blocks)
        if told.output_tokens is not None:
            self._learn_decode(dispatch, account, told, now_ms)
        if told.cached_tokens is not None:
            self._correct(placement, told.cached_tokens, told.prompt_tokens or placement.prompt.tokens)

    def _expected_ttft_ms(self, placement: Placement, told: Told, now_ms: float) -> float:
        """Of as much as was really cached: what was computed by a request beside it makes no replica a fast one."""
        terms, tokens = placement.terms, placement.prompt.tokens
        if told.cached_tokens is None or not told.prompt_tokens:
            return terms.ttft_ms
        speed = self.estimator.of(placement.dispatch.replica, now_ms)
        hit_tokens = tokens * told.cached_tokens / told.prompt_tokens
        found = speed.prefill_ms(tokens, hit_tokens) / speed.prefill_ms(tokens, terms.hit_tokens)
        return terms.ttft_ms + (found - 1) * terms.prefill_ms

    def requests_on(self, replica: str) -> int:
        """In flight there, as far as this gateway knows."""
        return self.ledger.account(replica).requests

    def set_cache_tokens(self, replica: str, tokens: float) -> None:
        """How much KV cache the replica says it has."""
        self._cache_tokens[replica] = tokens
        self._believed_cache_tokens.setdefault(replica, tokens)

    def other_began(self, replica: str, key: str, prompt: Prompt, hit_tokens: float, now_ms: float) -> None:
        """Another gateway has sent this there; it expects a hit of so many tokens."""
        self.other_ended(replica, key, now_ms)
        prefill_ms = self.estimator.of(replica, now_ms).prefill_ms(prompt.tokens, hit_tokens)
        terms = _bare_terms(prefill_ms, hit_tokens)
        self._theirs[replica, key] = self._open(prompt, replica, {replica: terms}, 0, now_ms, is_ours=False)
        self.heard(replica, now_ms)

    def other_got_first_token(self, replica: str, key: str, now_ms: float) -> None:
        placement = self._theirs.get((replica, key))
        if placement is not None and placement.dispatch.first_token_ms is None:
            self.first_token(placement, now_ms)
        self.heard(replica, now_ms)

    def other_ended(self, replica: str, key: str, now_ms: float) -> None:
        placement = self._theirs.pop((replica, key), None)
        if placement is not None:
            self.finish(placement, now_ms, Told())
        self.heard(replica, now_ms)

    def other_reset(self, replica: str, now_ms: float) -> None:
        """Nothing that was known of other gateways' requests there holds any more; a new account of them follows."""
        for key in [key for key in self._theirs if key[0] == replica]:
            self.other_ended(*key, now_ms)

    def heard(self, replica: str, now_ms: float) -> None:
        """Something came from this replica's feed: what is known of others there is of now."""
        self.ledger.account(replica).heard_ms = now_ms

    def forget(self, replica: str) -> None:
        """The replica is gone; what is known of the others stays."""
        self.index.remove(replica)
        self.estimator.forget(replica)
        self.ledger.forget(replica)
        self._cache_tokens.pop(replica, None)
        self._believed_cache_tokens.pop(replica, None)
        self._cache_steps.pop(replica, None)
        self._theirs = {key: placement for key, placement in self._theirs.items() if key[0] != replica}

    def _open(
        self,
        prompt: Prompt,
        replica: str,
        candidates: dict[str, Terms],
        depth: int,
        now_ms: float,
        *,
        is_ours: bool,
        shows_first_token: bool = True,
        is_favoured: bool = False,
    ) -> Placement:
        terms = candidates[replica]
        resident = prompt.tokens + self.estimator.output_tokens / 2
        dispatch = Dispatch(
            replica=replica,
            prompt_tokens=prompt.tokens,
            hit_tokens=terms.hit_tokens,
            prefill_ms=terms.prefill_ms,
            resident_tokens=resident,
            private_tokens=resident - prompt.tokens_at(len(prompt.ends)),
            dispatched_ms=now_ms,
            expected_ms=now_ms + terms.ttft_ms,
            is_ours=is_ours,
            shows_first_token=shows_first_token,
            is_favoured=is_favoured,
        )
        self.ledger.open(dispatch)
        self.index.read(replica, prompt.blocks, prompt.ends)
        self._fit_index(replica)
        return Placement(dispatch, prompt, terms, depth, candidates)

    def _fit_index(self, replica: str) -> None:
        room = self._believed_cache_tokens.get(replica, float("inf"))
        self.index.shrink(replica, room - self.ledger.account(replica).private_tokens)

    def _learn_decode(self, dispatch: Dispatch, account: ReplicaAccount, told: Told, now_ms: float) -> None:
        first_ms = dispatch.first_token_ms if dispatch.shows_first_token else None
        if told.ttft_ms is not None and first_ms is None:
            first_ms = dispatch.dispatched_ms + told.ttft_ms
        assert told.output_tokens is not None
        if first_ms is None:
            return
        decode_ms = now_ms - first_ms
        self.yardstick.saw_decode(told.output_tokens, decode_ms)
        prefills_ms = account.prefilled_ms - dispatch.prefilled_before_ms
        resident = (dispatch.resident_before_tokens + account.resident_tokens) / 2
        beside = (dispatch.decoding_before + account.decoding + 1) / 2
        if told.output_tokens > 1:
            step_ms = self.estimator.of(dispatch.replica, now_ms).decode_step_ms(beside, resident)
            account.stretch += STRETCH_MEMORY * (
                max(1.0, decode_ms / (told.output_tokens - 1) / step_ms) - account.stretch
            )
        self.estimator.saw_decode(
            dispatch.replica, now_ms, told.output_tokens, decode_ms, prefills_ms, beside, resident
        )

    def _correct(self, placement: Placement, cached_tokens: int, prompt_tokens: float) -> None:
        """Move what the replica's cache is believed to hold to where too much and too little are equally frequent."""
        replica, prompt, depth = placement.replica, placement.prompt, placement.depth
        exact = prompt_tokens / prompt.tokens
        believed, room = exact * prompt.tokens_at(depth), self._believed_cache_tokens.get(replica)
        self.accuracy.saw_hit(believed, cached_tokens)
        self.estimator.saw_hit(prompt_tokens, cached_tokens)
        self.yardstick.saw_hit(prompt_tokens, cached_tokens)
        slack = SLACK_TOKENS + SLACK_SHARE * believed
        if cached_tokens + slack < believed:
            held = self.index.held_tokens(replica) + self.ledger.account(replica).private_tokens
            self._believed_cache_tokens[replica] = (1 + self._step(replica, -1)) * (held if room is None else room)
        elif room is not None and depth < len(prompt.ends) and exact * prompt.ends[depth] + slack < cached_tokens:
            self._believed_cache_tokens[replica] = (1 + self._step(replica, 1)) * room
        elif depth:
            self._cache_steps.pop(replica, None)

    def _step(self, replica: str, sign: int) -> float:
        """Small at first, and twice the last one for as long as every belief is wrong in the same direction."""
        last = sign * self._cache_steps.get(replica, 0.0)
        step = min(MOST_CACHE_STEP, 2 * last) if last > 0 else CACHE_STEP
        self._cache_steps[replica] = sign * step
        return sign * step


def _bare_terms(prefill_ms: float, hit_tokens: float) -> Terms:
    """Of a request that another gateway placed: nothing but its prefill is known here."""
    return Terms(
        wait_ms=0.0,
        room_ms=0.0,
        prefill_ms=prefill_ms,
        cache_ms=0.0,
        others_ms=0.0,
        decode_ms=0.0,
        crowd_ms=0.0,
        miss_ms=0.0,
        total_ms=prefill_ms,
        ttft_ms=prefill_ms,
        tpot_ms=0.0,
        hit_tokens=hit_tokens,
        waiting_requests=0,
        decoding_requests=0.0,
    )
