"""One request on one replica, from its placement to what is learned of it."""

import logging
from collections.abc import Callable

from deployments.gateway.answer_tap import AnswerTap
from deployments.gateway.feed import dispatch_header
from deployments.gateway.http_server import Headers
from deployments.gateway.model_routers import ModelRouter, now_ms
from deployments.gateway.receipt import actual, line, prediction
from deployments.gateway.relay import Outcome
from deployments.gateway.request import InferenceRequest
from deployments.gateway.routing.attainment import kept
from deployments.gateway.routing.router import Placement, Told
from deployments.gateway.spent import Spent
from deployments.gateway.usage import Usage
from deployments.gateway.usage_tally import RequestUsage

logger = logging.getLogger("baryon.routing")

FAILED: frozenset[Outcome] = frozenset({"failed", "broken", "timed_out"})
BROKEN_OFF: frozenset[Outcome] = frozenset({"client_gone", "broken", "timed_out"})


class Attempt:
    """Made when the replica is chosen; `finish` exactly once, however it went.

    `on_progress` is called when the replica has shown a first token, and so has less to do.
    """

    def __init__(
        self,
        model: ModelRouter,
        placement: Placement,
        inference: InferenceRequest,
        arrived_ms: float,
        usage: RequestUsage,
        on_progress: Callable[[], None],
        *,
        explains: bool,
    ) -> None:
        self._model = model
        self._placement = placement
        self._inference = inference
        self._arrived_ms = arrived_ms
        self._usage = usage
        self._on_progress = on_progress
        self._explains = explains
        self.body = inference.body
        self.tap = AnswerTap(
            wanted=inference.usage_wanted,
            prompts=inference.prompts,
            choices=inference.choices,
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

    def finish(self, outcome: Outcome) -> Spent:
        """Close the account of it, learn from what the engine told, and tell the autoscaler what came of it."""
        usage, at_ms = self.tap.usage(), now_ms()
        if logger.isEnabledFor(logging.DEBUG):
            record = {**prediction(self._placement), **actual(self._placement, usage, at_ms)}
            logger.debug("%s", line(record).decode())
        told = Told()
        if usage is not None:
            told = Told(usage.output_tokens, usage.prompt_tokens, usage.cached_tokens, usage.ttft_ms)
            self._model.saw_prompt(self._inference.prompt.size_bytes, usage.prompt_tokens)
        if outcome == "completed":
            self._completed(usage, at_ms)
        elif outcome in FAILED:
            self._model.meter.finished(met=False)
        self._model.router.finish(self._placement, at_ms, told)
        return self._spent(outcome, usage)

    def _spent(self, outcome: Outcome, usage: Usage | None) -> Spent:
        if outcome == "completed":
            told = Spent(usage.prompt_tokens, usage.cached_tokens or 0, usage.output_tokens) if usage else None
            return self._usage.completed(told)
        if outcome in BROKEN_OFF:
            return self._usage.broke_off()
        if outcome == "not_started":
            self._usage.gives_up_replica()
        else:
            self._usage.refused()
        return Spent()

    def _completed(self, usage: Usage | None, at_ms: float) -> None:
        output_tokens = usage.output_tokens if usage is not None else None
        e2e_ms = at_ms - self._arrived_ms
        self._model.meter.finished(met=kept(self._model.router.slo, self._ttft_ms(usage), e2e_ms, output_tokens))
        if usage is not None:
            self._model.meter.answered(usage.prompt_tokens, usage.cached_tokens or 0, usage.output_tokens)

    def _ttft_ms(self, usage: Usage | None) -> float | None:
        """Since the request arrived here: as the stream showed it, else as the engine told it."""
        dispatch = self._placement.dispatch
        if dispatch.shows_first_token and dispatch.first_token_ms is not None:
            return dispatch.first_token_ms - self._arrived_ms
        if usage is not None and usage.ttft_ms is not None:
            return dispatch.dispatched_ms - self._arrived_ms + usage.ttft_ms
        return None

    def _first_token(self) -> None:
        if self._placement.dispatch.shows_first_token:
            self._model.router.first_token(self._placement, now_ms())
            self._on_progress()

    def _receipt(self, usage: Usage | None) -> bytes:
        return line(actual(self._placement, usage, now_ms()))
