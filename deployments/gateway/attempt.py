"""One request on one replica, from its placement to what is learned of it."""

import logging
from collections.abc import Callable

from deployments.gateway.feed import dispatch_header
from deployments.gateway.model_routers import ModelRouter, now_ms
from deployments.gateway.receipt import actual, line, prediction
from deployments.gateway.recipient import Headers
from deployments.gateway.relay import Outcome
from deployments.gateway.request import InferenceRequest
from deployments.gateway.request_record import RequestRecord
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

    `on_progress` is called when the replica has shown a first token, and so has less to do. `explains`, `times`: the
    client wants to know why it went there and what came of it, and how long each stage took.
    """

    def __init__(
        self,
        model: ModelRouter,
        placement: Placement,
        inference: InferenceRequest,
        record: RequestRecord,
        usage: RequestUsage,
        on_progress: Callable[[], None],
        *,
        explains: bool,
        times: bool,
    ) -> None:
        self._model = model
        self._placement = placement
        self._inference = inference
        self._record = record
        self._arrived_ms = record.stages.began_ms
        self._usage = usage
        self._on_progress = on_progress
        self._explains = explains
        self._times = times
        self.body = inference.body
        self.tap = inference.new_tap(
            wanted=inference.usage_wanted,
            prompts=inference.prompts,
            choices=inference.choices,
            on_first_token=self._first_token,
            last_headers=self._last_headers,
            comment=self._comment if explains or times else None,
        )
        self._place_in_record()

    def _place_in_record(self) -> None:
        record, terms = self._record, self._placement.terms
        record.tried = (*record.tried, record.replica) if record.replica else ()
        record.replica = self._placement.replica
        record.predicted_hit_tokens, record.predicted_ttft_ms = terms.hit_tokens, terms.ttft_ms

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
            self._finished(met=False)
        self._model.router.finish(self._placement, at_ms, told)
        spent = self._spent(outcome, usage)
        self._close_record(outcome, usage, spent)
        self.tap.let_go()
        return spent

    def _close_record(self, outcome: Outcome, usage: Usage | None, spent: Spent) -> None:
        record = self._record
        if record.trace is not None:
            record.trace.attempt_ends(outcome)
        if outcome == "not_started":
            record.stages.give_up_replica()
            return
        if outcome != "failed":
            record.outcome = outcome
        del record.gaps_ms[:1]
        if outcome == "completed":
            del record.gaps_ms[-1:]
        if usage is not None:
            record.engine_told(usage)
        record.ttft_ms = self._ttft_ms(usage)
        record.prompt_tokens, record.cached_tokens = spent.prompt_tokens, spent.cached_tokens
        record.output_tokens = spent.output_tokens

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
        self._finished(met=kept(self._model.router.slo, self._ttft_ms(usage), e2e_ms, output_tokens))
        if usage is not None:
            self._model.meter.answered(usage.prompt_tokens, usage.cached_tokens or 0, usage.output_tokens)

    def _finished(self, *, met: bool) -> None:
        self._record.slo_met = met
        self._model.meter.finished(met=met)

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

    def _last_headers(self, usage: Usage | None) -> Headers:
        if usage is not None:
            self._record.engine_told(usage)
        return [(b"x-baryon-actual", self._receipt(usage))] if self._explains else []

    def _comment(self, usage: Usage | None) -> bytes:
        if usage is not None:
            self._record.engine_told(usage)
        receipt = b": baryon %b\n\n" % self._receipt(usage) if self._explains else b""
        return receipt + (b": server-timing %b\n\n" % self._record.server_timing() if self._times else b"")

    def _receipt(self, usage: Usage | None) -> bytes:
        return line(actual(self._placement, usage, now_ms()))
