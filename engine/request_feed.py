"""Which requests each gateway has on this engine, told to the other gateways as they come and go.

One JSON object a line: `reset`, then `began` for each open request, then `began`, `first` and `ended` as they happen,
and `alive` when nothing else did. `k` names the request, `p` and `h` are its prompt's tokens and how many of them its
gateway expects in the cache, `b` is the prompt's blocks as in the header, `f` says that its first byte is out already.

The gateway of a request hears only `spent`, when the engine is through with it: `p`, `h` and `o` are then the prompt,
cached and output tokens that were computed. If that gateway is gone and its client has seen nothing of the answer, one
of the others hears of an `orphan` of tenant `t` instead.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.computed import Computed

DISPATCH_HEADER = b"x-baryon-dispatch"
MAX_DISPATCH_BYTES = 8192
TENANT_HEADER = b"x-baryon-tenant"
TENANT = re.compile(rb"[A-Za-z0-9._~%/-]{1,1024}")
ORPHANS_KEPT = 1_000
ORPHANED_AFTER_S = 10.0
NO_BLOCKS = b"-"
MAX_PENDING_BYTES = 4 * 2**20
ALIVE_S = 0.5

RESET = b'{"e":"reset"}\n'
ALIVE = b'{"e":"alive"}\n'
NAME = rb"[A-Za-z0-9._-]{1,64}"
DISPATCH = re.compile(rb"(%b) (%b) ([0-9]{1,9}) ([0-9]{1,9}) ([A-Za-z0-9_-]+)" % (NAME, NAME))


@dataclass(slots=True, eq=False)
class Told:
    """A request of `gateway` that the others are told of. `key` is unique among all gateways' requests."""

    gateway: bytes
    key: bytes
    prompt_tokens: int
    hit_tokens: int
    blocks: bytes
    got_first_byte: bool = False
    tenant: bytes = b""

    def began_line(self) -> bytes:
        first = b',"f":true' if self.got_first_byte else b""
        values = (self.key, self.prompt_tokens, self.hit_tokens, self.blocks, first)
        return b'{"e":"began","k":"%b","p":%d,"h":%d,"b":"%b"%b}\n' % values


def read_dispatch(header: bytes) -> Told | None:
    """`<gateway> <key> <prompt tokens> <hit tokens> <blocks>`; None if it is anything else."""
    match = DISPATCH.fullmatch(header) if len(header) <= MAX_DISPATCH_BYTES else None
    if match is None:
        return None
    gateway, key, prompt_tokens, hit_tokens, blocks = match.groups()
    if int(hit_tokens) > int(prompt_tokens) or not _are_blocks(blocks):
        return None
    return Told(gateway, b"%b/%b" % (gateway, key), int(prompt_tokens), int(hit_tokens), blocks)


def _are_blocks(text: bytes) -> bool:
    """Unpadded base64 of whole 8-byte hashes, or the sign for none."""
    return text == NO_BLOCKS or (len(text) % 4 != 1 and len(text) * 3 // 4 % 8 == 0)


class Subscription:
    """What one gateway has yet to be told. Iterate over it for one or more whole lines at a time.

    `cut_off` is done when it has let more than `MAX_PENDING_BYTES` wait; the iteration ends then.
    """

    def __init__(self, gateway: bytes, snapshot: bytes, forget: "Callable[[Subscription], None]") -> None:
        self.gateway = gateway
        self.cut_off: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending = [snapshot]
        self._pending_bytes = 0
        self._forget = forget
        self._is_pending = asyncio.Event()
        self._is_pending.set()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> bytes:
        """Everything that waits, or the line that says there was nothing for `ALIVE_S`."""
        try:
            async with asyncio.timeout(ALIVE_S):
                await self._is_pending.wait()
        except TimeoutError:
            return ALIVE
        if self.cut_off.done():
            raise StopAsyncIteration
        lines = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._is_pending.clear()
        return lines

    def put(self, line: bytes) -> None:
        self._pending.append(line)
        self._pending_bytes += len(line)
        self._is_pending.set()
        if self._pending_bytes > MAX_PENDING_BYTES:
            self.close()

    def close(self) -> None:
        """Nothing more is told; what waits is lost. A second call does nothing."""
        self._forget(self)
        self._pending.clear()
        self._is_pending.set()
        if not self.cut_off.done():
            self.cut_off.set_result(None)


@dataclass(frozen=True, slots=True, eq=False)
class Unheard:
    """What `gateway` should have been told as `spent`, and what another is told if it does not come back."""

    gateway: bytes
    spent: bytes
    orphan: bytes


class RequestFeed:
    """Requests in the engine by the gateway that sent them, and who listens."""

    def __init__(self) -> None:
        self._open: dict[bytes, Told] = {}
        self._subscriptions: dict[Subscription, None] = {}
        self._unheard: deque[Unheard] = deque(maxlen=ORPHANS_KEPT)
        self._orphans: deque[bytes] = deque(maxlen=ORPHANS_KEPT)

    def began(self, header: bytes | None, tenant: bytes = b"") -> Told | None:
        """None if the header is missing or malformed: then nobody is told of the request.

        A request under a key that is still open takes its place: its gateway sent it again.
        """
        told = read_dispatch(header) if header else None
        if told is None:
            return None
        if TENANT.fullmatch(tenant):
            told.tenant = tenant
        replaced = self._open.get(told.key)
        if replaced is not None:
            self.ended(replaced)
        self._open[told.key] = told
        self._tell(told, told.began_line)
        return told

    def first_byte(self, told: Told) -> None:
        if self._open.get(told.key) is told and not told.got_first_byte:
            told.got_first_byte = True
            self._tell(told, lambda: b'{"e":"first","k":"%b"}\n' % told.key)

    def ended(self, told: Told) -> None:
        if self._open.get(told.key) is told:
            del self._open[told.key]
            self._tell(told, lambda: b'{"e":"ended","k":"%b"}\n' % told.key)

    def spent(self, told: Told, computed: Computed, *, is_cut: bool) -> None:
        """What the engine computed of a request that has ended; `is_cut`: its client left before that was all.

        A gateway that is not there hears it when it comes back. If it does not, another hears of what that one had
        not passed on to its client, and no second one.
        """
        tokens = b'"p":%d,"h":%d,"o":%d' % (computed.prompt_tokens, computed.cached_tokens, computed.output_tokens)
        line = b'{"e":"spent","k":"%b",%b}\n' % (told.key, tokens)
        mine = next((one for one in self._subscriptions if one.gateway == told.gateway), None)
        if mine is not None:
            mine.put(line)
            return
        is_orphan = is_cut and told.tenant and not told.got_first_byte
        orphan = b'{"e":"orphan","t":"%b",%b}\n' % (told.tenant, tokens) if is_orphan else b""
        unheard = Unheard(told.gateway, line, orphan)
        self._unheard.append(unheard)
        asyncio.get_running_loop().call_later(ORPHANED_AFTER_S, self._orphan, unheard)

    def _orphan(self, unheard: "Unheard") -> None:
        """Its gateway has not come back."""
        if unheard not in self._unheard:
            return
        self._unheard.remove(unheard)
        if not unheard.orphan:
            return
        other = next(iter(self._subscriptions), None)
        if other is None:
            self._orphans.append(unheard.orphan)
        else:
            other.put(unheard.orphan)

    def subscribe(self, gateway: bytes) -> Subscription:
        """Raises:
        ValueError: not a gateway's id.
        """
        if not re.fullmatch(NAME, gateway):
            raise ValueError("not a gateway's id")
        others = (told.began_line() for told in self._open.values() if told.gateway != gateway)
        mine = [unheard for unheard in self._unheard if unheard.gateway == gateway]
        for unheard in mine:
            self._unheard.remove(unheard)
        news = (RESET, *others, *(unheard.spent for unheard in mine), *self._orphans)
        self._orphans.clear()
        subscription = Subscription(gateway, b"".join(news), self._drop)
        self._subscriptions[subscription] = None
        return subscription

    def _tell(self, told: Told, line: Callable[[], bytes]) -> None:
        if not self._subscriptions:
            return
        text = line()
        for subscription in tuple(self._subscriptions):
            if subscription.gateway != told.gateway:
                subscription.put(text)

    def _drop(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)
