"""What is on each replica, and how far it has come: this gateway's own requests, and those it hears of from others."""

import math
from dataclasses import dataclass, field

from deployments.gateway.routing.others import OthersLoad
from deployments.gateway.routing.score import Load


@dataclass(slots=True, eq=False)
class Dispatch:
    """A request on a replica, from dispatch to its end. Times in milliseconds of the caller's clock.

    `prefill_ms` is what its own prefill was predicted to take there; `resident_tokens` what its KV cache will hold
    while it decodes, `private_tokens` the part of that which no other request can share. One that shows no first token,
    because its answer comes whole, is taken to have it at `expected_ms`.
    """

    replica: str
    prompt_tokens: float
    hit_tokens: float
    prefill_ms: float
    resident_tokens: float
    private_tokens: float
    dispatched_ms: float
    expected_ms: float
    is_ours: bool = True
    is_favoured: bool = False
    shows_first_token: bool = True
    first_token_ms: float | None = None
    prefilled_before_ms: float = 0.0
    resident_before_tokens: float = 0.0
    decoding_before: int = 0


@dataclass(slots=True)
class ReplicaAccount:
    """Open requests of one replica: those that wait for a first token, in order, and those that decode.

    `progress_ms`: when the replica last showed that it had come to the request now at the head of its queue.
    `prefilled_ms`: all prefill work, as predicted, that it has done. `theirs_…`: the part of other gateways' requests,
    last heard of at `heard_ms`. `stretch`: how many times a decode step an answer's token
    takes of late, because prefills come in between.
    """

    waiting: dict[int, Dispatch] = field(default_factory=dict)
    decoding: int = 0
    resident_tokens: float = 0.0
    private_tokens: float = 0.0
    queued_prefill_ms: float = 0.0
    prompt_tokens: float = 0.0
    progress_ms: float = 0.0
    prefilled_ms: float = 0.0
    stretch: float = 1.0
    ours: int = 0
    theirs_queued_ms: float = 0.0
    theirs_decoding: int = 0
    theirs_resident_tokens: float = 0.0
    heard_ms: float = 0.0
    dispatched_ms: float = -math.inf
    favoured_waiting: int = 0

    @property
    def requests(self) -> int:
        return len(self.waiting) + self.decoding

    def assume(self, now_ms: float) -> None:
        """Requests at the head of the queue that show no first token have it once it is due."""
        while self.waiting:
            head = next(iter(self.waiting.values()))
            if head.shows_first_token or now_ms < head.expected_ms:
                return
            self.prefilled(head, head.expected_ms)

    def prefilled(self, dispatch: Dispatch, at_ms: float) -> None:
        self.leave_queue(dispatch, at_ms)
        self.decoding += 1
        self.theirs_decoding += not dispatch.is_ours
        self.prefilled_ms += dispatch.prefill_ms
        dispatch.first_token_ms = at_ms
        dispatch.prefilled_before_ms = self.prefilled_ms
        dispatch.resident_before_tokens = self.resident_tokens
        dispatch.decoding_before = self.decoding

    def leave_queue(self, dispatch: Dispatch, at_ms: float) -> None:
        del self.waiting[id(dispatch)]
        self.favoured_waiting -= dispatch.is_favoured
        if not dispatch.is_ours:
            self.theirs_queued_ms -= dispatch.prefill_ms
        self.queued_prefill_ms = self.queued_prefill_ms - dispatch.prefill_ms if self.waiting else 0.0
        self.progress_ms = max(self.progress_ms, at_ms)

    def queue_ms(self, now_ms: float) -> float:
        """Queued prefill work less what the head of the queue must have had done by now."""
        self.assume(now_ms)
        if not self.waiting:
            return 0.0
        head = next(iter(self.waiting.values()))
        done_ms = min(head.prefill_ms, now_ms - max(self.progress_ms, head.dispatched_ms))
        return max(0.0, self.queued_prefill_ms - done_ms)

    def theirs(self) -> OthersLoad:
        return OthersLoad(self.theirs_queued_ms, self.theirs_decoding, self.theirs_resident_tokens, self.heard_ms)

    def load(
        self,
        now_ms: float,
        elsewhere: OthersLoad | None,
        shared_tokens: float = 0.0,
        idle_tokens: float = 0.0,
        cache_tokens: float = math.inf,
    ) -> Load:
        """`elsewhere`: what others have on an average replica, for when nothing is heard from this one.

        `shared_tokens`: of prompt blocks in use, each counted once; `idle_tokens`: of the other blocks that are cached.
        `cache_tokens`: all that the KV cache holds.
        """
        unshared_tokens, stretch = self.private_tokens, self.stretch if self.decoding else 1.0
        queue_ms, decoding, resident = self.queue_ms(now_ms), float(self.decoding), self.resident_tokens
        if elsewhere is not None:
            told = self.theirs()
            believed = told.towards(elsewhere, now_ms)
            queue_ms = max(0.0, queue_ms + believed.queued_prefill_ms - told.queued_prefill_ms)
            decoding += believed.decoding - told.decoding
            resident += believed.resident_tokens - told.resident_tokens
            unshared_tokens += believed.resident_tokens - told.resident_tokens
        return Load(
            queued_prefill_ms=queue_ms,
            waiting_requests=len(self.waiting),
            decoding_requests=decoding,
            resident_tokens=resident,
            used_tokens=shared_tokens + unshared_tokens,
            idle_tokens=idle_tokens,
            cache_tokens=cache_tokens,
            stretch=stretch,
        )


class Ledger:
    """Opened when a request is sent, told of its first token, closed once when it ends, however it ends."""

    def __init__(self) -> None:
        self._accounts: dict[str, ReplicaAccount] = {}
        self._gone: set[str] = set()

    def open(self, dispatch: Dispatch) -> None:
        account = self._accounts.setdefault(dispatch.replica, ReplicaAccount())
        account.waiting[id(dispatch)] = dispatch
        account.favoured_waiting += dispatch.is_favoured
        account.dispatched_ms = max(account.dispatched_ms, dispatch.dispatched_ms)
        account.queued_prefill_ms += dispatch.prefill_ms
        account.resident_tokens += dispatch.resident_tokens
        account.private_tokens += dispatch.private_tokens
        account.prompt_tokens += dispatch.prompt_tokens
        if dispatch.is_ours:
            account.ours += 1
        else:
            account.theirs_queued_ms += dispatch.prefill_ms
            account.theirs_resident_tokens += dispatch.resident_tokens

    def first_token(self, dispatch: Dispatch, now_ms: float) -> float:
        """Returns how long the replica was busy with this prefill: since it showed its last progress, or got it."""
        account = self._accounts[dispatch.replica]
        busy_ms = max(0.0, now_ms - max(account.progress_ms, dispatch.dispatched_ms))
        if id(dispatch) in account.waiting:
            account.prefilled(dispatch, now_ms)
        return busy_ms

    def close(self, dispatch: Dispatch, now_ms: float) -> ReplicaAccount:
        account = self._accounts[dispatch.replica]
        if dispatch.first_token_ms is None:
            account.leave_queue(dispatch, now_ms)
        else:
            account.decoding -= 1
            account.theirs_decoding -= not dispatch.is_ours
        account.resident_tokens -= dispatch.resident_tokens
        account.private_tokens -= dispatch.private_tokens
        account.prompt_tokens -= dispatch.prompt_tokens
        account.ours -= dispatch.is_ours
        if not dispatch.is_ours:
            account.theirs_resident_tokens -= dispatch.resident_tokens
        if not account.requests:
            account.resident_tokens = account.prompt_tokens = account.private_tokens = 0.0
            account.theirs_resident_tokens = account.theirs_queued_ms = 0.0
            if dispatch.replica in self._gone:
                self._gone.remove(dispatch.replica)
                del self._accounts[dispatch.replica]
        return account

    def account(self, replica: str) -> ReplicaAccount:
        """An empty one for a replica that nothing was ever sent to."""
        return self._accounts.setdefault(replica, ReplicaAccount())

    def forget(self, replica: str) -> None:
        """The replica is gone. What is still open there may be closed later."""
        account = self._accounts.get(replica)
        if account is not None and account.requests:
            self._gone.add(replica)
        else:
            self._accounts.pop(replica, None)

    def total_requests(self) -> int:
        """This gateway's own, over all replicas."""
        return sum(account.ours for account in self._accounts.values())

    def own_requests(self) -> dict[str, int]:
        """This gateway's own, by replica."""
        return {replica: account.ours for replica, account in self._accounts.items() if account.ours}

    def own_queue_ms(self, now_ms: float) -> float:
        """Prefill work of this gateway's own requests that waits, over all replicas."""
        return sum(max(0.0, account.queue_ms(now_ms) - account.theirs_queued_ms) for account in self._accounts.values())

    def theirs(self) -> list[OthersLoad]:
        """What others have on each replica that was ever heard of."""
        return [account.theirs() for account in self._accounts.values() if account.heard_ms]
