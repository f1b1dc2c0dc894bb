"""One request on one replica, from its placement to what is learned of it."""

import logging

from deployments.gateway.answer_tap import AnswerTap
from deployments.gateway.feed import dispatch_header
from deployments.gateway.http_server import Headers
from deployments.gateway.model_routers import ModelRouter, now_ms
from deployments.gateway.receipt import line, outcome, prediction
from deployments.gateway.request import InferenceRequest
from deployments.gateway.routing.router import Placement, Told
from deployments.gateway.usage import Usage

logger = logging.getLogger("baryon.routing")


class Attempt:
    """Made when the replica is chosen; `finish` exactly once, however it went."""

    def __init__(
        self, model: ModelRouter, placement: Placement, inference: InferenceRequest, *, explains: bool
    ) -> None:
        self._model = model
        self._placement = placement
        self._inference = inference
        self._explains = explains
        self.body = inference.body
        self.tap = AnswerTap(
            strips_usage=inference.strips_usage,
            on_first_token=self._first_token,
            receipt=self._receipt if explains else None,
        )

    def headers(self) -> Headers:
        """What the client learns before the answer exists."""
        named = [(b"x-baryon-replica", self._placement.replica.encode())]
        if self._explains:
            named.append((b"x-baryon-route", line(prediction(self._placement))))
        return named

    def dispatch_header(self, gateway_id: str, request_id: bytes) -> bytes:
        """What other gateways learn through the engine's feed."""
        dispatch, prompt = self._placement.dispatch, self._placement.prompt
        return dispatch_header(
            gateway_id, request_id.decode(), round(dispatch.prompt_tokens), round(dispatch.hit_tokens), prompt.blocks
        )

    def finish(self) -> None:
        """Close the account of it, and learn from what the engine told."""
        usage, at_ms = self.tap.usage(), now_ms()
        if logger.isEnabledFor(logging.DEBUG):
            record = {**prediction(self._placement), **outcome(self._placement, usage, at_ms)}
            logger.debug("%s", line(record).decode())
        told = Told()
        if usage is not None:
            told = Told(usage.output_tokens, usage.prompt_tokens, usage.cached_tokens, usage.ttft_ms)
            self._model.saw_prompt(self._inference.prompt.size_bytes, usage.prompt_tokens)
        self._model.router.finish(self._placement, at_ms, told)

    def _first_token(self) -> None:
        if self._placement.dispatch.shows_first_token:
            self._model.router.first_token(self._placement, now_ms())

    def _receipt(self, usage: Usage | None) -> bytes:
        return line(outcome(self._placement, usage, now_ms()))
