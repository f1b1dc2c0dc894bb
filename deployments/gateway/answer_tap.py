"""Looks at an answer as it passes: its first token, what the engine says of it, and what is not for the client."""

from collections.abc import Callable

from deployments.gateway.recipient import Headers
from deployments.gateway.spent import Spent
from deployments.gateway.stream_count import DeltaCount, StreamCount
from deployments.gateway.usage import Usage, UsageStripper, UsageWanted, read_usage

TAIL_BYTES = 16 * 1024
LARGEST_HELD_BYTES = 2**20
HEAD_BYTES = 1024
USAGE = b'"usage":{'
DONE = b"data: [DONE]"

Comment = Callable[[Usage | None], bytes]
LastHeaders = Callable[[Usage | None], Headers]
NewTap = Callable[..., "AnswerTap"]


def ignore() -> None:
    """Of an answer that has ended."""


def no_headers(_: Usage | None) -> Headers:
    """Of an answer that has ended."""
    return []


class AnswerTap:
    """One answer. `comment`, if wanted, is asked once what to tell at the end of a stream: whole comments. What is
    known of a whole answer before it goes is in its `last_headers`.

    `wanted`: what of the usage the client asked for in a stream that tells it; None: it has nothing to take out.
    `largest_held_bytes`: up to here an answer that is no stream waits until it is whole.
    """

    largest_held_bytes = LARGEST_HELD_BYTES

    def __init__(
        self,
        *,
        wanted: UsageWanted | None,
        prompts: int,
        choices: int,
        on_first_token: Callable[[], None],
        last_headers: LastHeaders,
        comment: Comment | None,
    ) -> None:
        self._stripper = UsageStripper(wanted) if wanted is not None else None
        self._count = StreamCount(prompts, choices) if wanted is not None else DeltaCount()
        self._on_first_token = on_first_token
        self._last_headers = last_headers
        self._comment = comment
        self._saw_token = False
        self._tail = b""
        self._head = b""
        self._usage: tuple[bytes, Usage | None] = b"", None

    def event_data(self, data: bytes) -> bytes:
        """Of a stream of events: what goes on to the client."""
        if not self._saw_token:
            self._saw_token = True
            self._on_first_token()
        if self._stripper is not None:
            data, told, counted = self._stripper.feed(data)
            if counted:
                self._count.passed(counted)
                self._tail = told or self._tail
        else:
            self._count.passed(data)
            if USAGE in data:
                self._tail = data
        if self._comment is not None and DONE in data:
            before, done, after = data.partition(DONE)
            data = before + self._last_comment() + done + after
        return data

    def event_end(self) -> bytes:
        """What is still to be sent: an event that never ended, or the comment of a dialect without a last word."""
        rest = self._stripper.rest() if self._stripper is not None else b""
        return rest + self._last_comment()

    def delivered(self) -> Spent:
        """Of a stream, as far as it went; one document is delivered whole or not at all."""
        return self._count.spent()

    def whole_data(self, data: bytes) -> None:
        """Of an answer that is one document, which says its usage last, or, if it is of tokens by id, first."""
        if len(self._head) < HEAD_BYTES:
            self._head = (self._head + data)[:HEAD_BYTES]
        self._tail = (self._tail + data)[-TAIL_BYTES:]

    def whole(self, body: bytes) -> bytes:
        """Of an answer that has waited until it was whole: what goes on to the client."""
        return body

    def usage(self) -> Usage | None:
        if self._usage[0] is not self._tail:
            self._usage = self._tail, read_usage(self._tail) or read_usage(self._head)
        return self._usage[1]

    def let_go(self) -> None:
        """Nothing more comes, and whoever is told holds this: without that nothing waits for the garbage collector."""
        self._on_first_token, self._last_headers, self._comment = ignore, no_headers, None

    def last_headers(self) -> Headers:
        return self._last_headers(self.usage())

    def _last_comment(self) -> bytes:
        comment, self._comment = self._comment, None
        return comment(self.usage()) if comment is not None else b""
