"""What the other gateways have on each replica, as its engine tells it (`engine.request_feed`)."""

import asyncio
import binascii
import re
import struct
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, cast

import httptools
import orjson

from deployments.gateway.replica_table import ReplicaInfo
from deployments.gateway.upstream import engine_address
from engine.guard import FEED_ROUTE, TOKEN_HEADER
from engine.request_feed import MAX_DISPATCH_BYTES, NAME, NO_BLOCKS

CONNECT_TIMEOUT_S = 2.0
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 2.0
NO_SUCH_ROUTE_RETRY_S = 30.0
SILENCE_S = 5.0
MAX_LINE_BYTES = 64 * 1024
HASH_BYTES = 8


def dispatch_header(gateway_id: str, key: str, prompt_tokens: int, hit_tokens: int, blocks: Sequence[int]) -> bytes:
    """The value of `DISPATCH_HEADER`. Blocks beyond what it has room for are left out, from the end.

    `gateway_id` and `key` are 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `-`; with anything else the engine ignores the header.
    """
    start = b"%b %b %d %d " % (gateway_id.encode(), key.encode(), prompt_tokens, min(hit_tokens, prompt_tokens))
    room = (MAX_DISPATCH_BYTES - len(start)) * 3 // 4 // HASH_BYTES
    return start + _encoded(blocks[:room])


def _encoded(blocks: Sequence[int]) -> bytes:
    return urlsafe_b64encode(struct.pack(f"<{len(blocks)}Q", *blocks)).rstrip(b"=") or NO_BLOCKS


def _decoded(text: str) -> tuple[int, ...]:
    """Raises:
    ValueError: not base64.
    struct.error: not whole hashes.
    """
    if text == NO_BLOCKS.decode():
        return ()
    packed = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    return struct.unpack(f"<{len(packed) // HASH_BYTES}Q", packed)


class FeedListener(Protocol):
    """Hears of other gateways' requests on a replica, on the event loop. `key` is unique among all of them."""

    def other_reset(self, model: str, replica_id: str) -> None:
        """Nothing that was told before holds any more; what is open follows."""

    def other_began(
        self,
        model: str,
        replica_id: str,
        key: str,
        prompt_tokens: int,
        hit_tokens: int,
        blocks: tuple[int, ...],
    ) -> None: ...

    def other_got_first_token(self, model: str, replica_id: str, key: str) -> None: ...

    def other_ended(self, model: str, replica_id: str, key: str) -> None: ...

    def heard(self, model: str, replica_id: str) -> None:
        """After everything that came at once, even if it said only that the engine is alive."""
