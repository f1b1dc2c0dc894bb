"""Looks at an answer as it passes: its first token, what the engine says of it, and what is not for the client."""

from collections.abc import Callable

from deployments.gateway.spent import Spent
from deployments.gateway.stream_count import DeltaCount, StreamCount
from deployments.gateway.usage import Usage, UsageStripper, UsageWanted, read_usage

TAIL_BYTES = 16 * 1024
USAGE = b'"usage":{'
DONE = b"data: [DONE]"

Receipt = Callable[[Usage | None], bytes]


class AnswerTap:
    """One answer. `receipt`, if wanted, is asked once what to tell at the end: text of one line.

    `wanted`: what of the usage the client asked for in a stream that tells it; None: it has nothing to take out.
    """

    def __init__(
        self,
        *,
        wanted: UsageWanted | None,
        prompts: int,
        choices: int,
        on_first_token: Callable[[], None],
        receipt: Receipt | None,
    ) -> None:
        self._stripper = UsageStripper(wanted) if wanted is not None else None
        self._count = StreamCount(prompts, choices) if wanted is not None else DeltaCount()
        self._on_first_token = on_first_token
        self._receipt = receipt
        self._saw_token = False
        self._tail = b""
        self.wants_whole = receipt is not None

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
        if self._receipt is not None and DONE in data:
            before, done, after = data.partition(DONE)
            data = before + self._comment() + done + after
        return data

    def event_end(self) -> bytes:
        """What is still to be sent: an event that never ended, or the receipt of a dialect without a last word."""
        rest = self._stripper.rest() if self._stripper is not None else b""
        return rest + self._comment() if self._receipt is not None else rest

    def delivered(self) -> Spent:
        """Of a stream, as far as it went; one document is delivered whole or not at all."""
        return self._count.spent()

    def whole_data(self, data: bytes) -> None:
        """Of an answer that is one document."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]

    def usage(self) -> Usage | None:
        return read_usage(self._tail)

    def receipt(self) -> bytes | None:
        """For the headers of a whole answer."""
        return self._receipt(self.usage()) if self._receipt is not None else None

    def _comment(self) -> bytes:
        receipt, self._receipt = self._receipt, None
        assert receipt is not None
        return b": baryon " + receipt(self.usage()) + b"\n\n"
