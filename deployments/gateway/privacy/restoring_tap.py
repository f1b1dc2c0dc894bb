"""Looks at an answer as it passes, and restores it."""

from typing import Any

from deployments.gateway.answer_tap import AnswerTap
from deployments.gateway.privacy.event_restorer import EventRestorer
from deployments.gateway.privacy.restoration import Restoration


class RestoringTap(AnswerTap):
    """One answer to one request. What it counts and learns is from what the engine said.

    An answer that is no stream is restored when it is whole; one that is larger than is held stays as the model wrote
    it, with placeholders.
    """

    largest_held_bytes = 32 * 2**20

    def __init__(self, restoration: Restoration, path: bytes, **of_answer: Any) -> None:
        """`of_answer`: see `AnswerTap`."""
        super().__init__(**of_answer)
        self._restoration = restoration
        self._events = EventRestorer(restoration, path)

    def event_data(self, data: bytes) -> bytes:
        return self._events.feed(super().event_data(data))

    def event_end(self) -> bytes:
        return self._events.feed(super().event_end()) + self._events.rest()

    def whole(self, body: bytes) -> bytes:
        return self._restoration.body(body)
