"""Step 5 for a tenant that has its text shown: what passes is heard as the engine said it."""

from deployments.gateway.answer import Answer
from deployments.gateway.answer_tap import AnswerTap
from deployments.gateway.recipient import Headers
from deployments.gateway.relay import Relay
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.texts.request_text import RequestText


class HeardRelay(Relay):
    """An engine's errors are not heard: they are no answer."""

    def __init__(
        self, answer: Answer, named: Headers, settings: GatewaySettings, tap: AnswerTap, text: RequestText
    ) -> None:
        super().__init__(answer, named, settings, tap)
        self._text = text
        text.answer_begins()

    def on_data(self, body: bytes) -> None:
        if self._status < 400:
            self._text.hears(body, is_event_stream=self._is_event_stream)
        super().on_data(body)
