"""What an engine's feed says: taken out of its answer line by line, checked, and passed on."""

import struct
from base64 import b64decode
from typing import Any, Protocol
from urllib.parse import unquote

import httptools
import orjson

from engine.computed import Computed
from engine.request_feed import NO_BLOCKS

MAX_LINE_BYTES = 64 * 1024
MAX_OPEN = 10_000
MAX_TOKENS = 10**9
HASH_BYTES = 8
OK = 200


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


class SpentListener(Protocol):
    """Hears what requests took on an engine."""

    def spent(self, replica_id: str, key: str, computed: Computed) -> None:
        """One of this gateway's, when its engine is through with it."""

    def orphaned(self, tenant: str, model: str, computed: Computed) -> None:
        """One of a gateway that is gone, of which its client has seen nothing. No other gateway hears of it."""


class FeedBroken(Exception):
    """The feed ended, or says what no engine says."""


class NoFeed(FeedBroken):
    """The engine answers with something else."""


class FeedAnswer:
    """Whole lines out of the engine's answer as it comes. Holds no more than `MAX_LINE_BYTES` of an unfinished one."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = [b""]
        self._status = 0
        self._unfinished_bytes = 0
        self.is_complete = False

    def lines(self, data: bytes) -> list[bytes]:
        """Raises:
        NoFeed: the status is not 200.
        FeedBroken: it is not HTTP, or a line, or head, is too long.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise FeedBroken("not HTTP") from None
        if self._status not in (0, OK):
            raise NoFeed(f"status {self._status}")
        *lines, unfinished = b"".join(self._body).split(b"\n")
        self._body[:] = [unfinished]
        self._unfinished_bytes = len(unfinished) if lines else self._unfinished_bytes + len(data)
        if self._unfinished_bytes > MAX_LINE_BYTES:
            raise FeedBroken(f"more than {MAX_LINE_BYTES} bytes without a line's end")
        return lines

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.is_complete = True


class FeedAccount:
    """What one connection tells of a replica: checked, then passed on to the listener."""

    def __init__(self, model: str, replica_id: str, listener: FeedListener, spending: SpentListener) -> None:
        self._replica = model, replica_id
        self._listener = listener
        self._spending = spending
        self._open: set[str] | None = None

    def tell(self, line: bytes) -> None:
        """Raises:
        FeedBroken: no engine says this, or not at this point.
        """
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise FeedBroken("a line that is not JSON") from None
        if isinstance(event, dict) and event.get("e") == "reset":
            self._open = set()
            self._listener.other_reset(*self._replica)
        elif self._open is None:
            raise FeedBroken("it does not begin with a reset")
        else:
            self._tell_change(event, self._open)

    def _tell_change(self, event: Any, open_now: set[str]) -> None:
        match event:
            case {"e": "began", "k": str(key), "p": int(prompt), "h": int(hit), "b": str(blocks)}:
                if not 0 <= hit <= prompt < MAX_TOKENS or key in open_now or len(open_now) >= MAX_OPEN:
                    raise FeedBroken("a request that cannot be")
                hashes = decoded_blocks(blocks)
                open_now.add(key)
                self._listener.other_began(*self._replica, key, prompt, hit, hashes)
                if event.get("f") is True:
                    self._listener.other_got_first_token(*self._replica, key)
            case {"e": "first", "k": str(key)}:
                self._listener.other_got_first_token(*self._replica, key)
            case {"e": "ended", "k": str(key)}:
                open_now.discard(key)
                self._listener.other_ended(*self._replica, key)
            case {"e": "spent", "k": str(key), "p": int(prompt), "h": int(hit), "o": int(output)}:
                self._spending.spent(self._replica[1], key, _computed(prompt, hit, output))
            case {"e": "orphan", "t": str(tenant), "p": int(prompt), "h": int(hit), "o": int(output)}:
                self._spending.orphaned(unquote(tenant), self._replica[0], _computed(prompt, hit, output))
            case {"e": "alive"}:
                pass
            case _:
                raise FeedBroken("a line of an unknown kind")


def _computed(prompt: int, hit: int, output: int) -> Computed:
    if not (0 <= hit <= prompt < MAX_TOKENS and 0 <= output < MAX_TOKENS):
        raise FeedBroken("tokens that cannot be")
    return Computed(prompt, hit, output)


def decoded_blocks(text: str) -> tuple[int, ...]:
    """As `dispatch_header` wrote them.

    Raises:
        FeedBroken: not whole hashes in base64.
    """
    if text == NO_BLOCKS.decode():
        return ()
    try:
        packed = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return struct.unpack(f"<{len(packed) // HASH_BYTES}Q", packed)
    except (ValueError, struct.error):
        raise FeedBroken("blocks that are none") from None
