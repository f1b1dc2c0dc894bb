"""May it enter now, and where: a request's way from its arrival to a replica, past whoever else waits."""

import math
import time

from deployments.gateway.admission import FULL_RETRY_S, admit, check_wait, has_room, is_at_zero, retry_after
from deployments.gateway.answer import Answer
from deployments.gateway.backends import Backends
from deployments.gateway.catalogue import ModelCard, Wake
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import GatewayError, at_capacity, engine_unavailable, model_not_found, waited_in_vain
from deployments.gateway.model_routers import now_ms
from deployments.gateway.replica_table import ReplicaInfo
from deployments.gateway.request import InferenceRequest
from deployments.gateway.routing.hold import Hold
from deployments.gateway.routing.router import Placement
from deployments.gateway.stages import QUEUE, ROUTE
from deployments.gateway.tenants.fair_queue import Claim
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.tenants.virtual_counters import cost_tokens
from deployments.gateway.waiting_room import Place

LOOK_AGAIN_S = 0.01
SESSION_HEADER = b"x-baryon-session"
EVENT_STREAM_ROUTES = frozenset({b"/v1/chat/completions", b"/v1/completions", b"/v1/responses", b"/v1/messages"})


class Turn:
    """One request's. `take` once for each replica that is asked; `tried` are those that had it before."""

    def __init__(
        self,
        backends: Backends,
        card: ModelCard,
        asked: InferenceRequest,
        tenant: Tenant,
        request: ClientRequest,
        answer: Answer,
        arrived_ms: float,
    ) -> None:
        self._backends = backends
        self._card = card
        self._asked = asked
        self._tenant = tenant
        self._session = request.headers.get(SESSION_HEADER)
        self._may_be_told = asked.stream and request.path in EVENT_STREAM_ROUTES
        self._answer = answer
        self._stages = answer.record.stages
        self._model = backends.routers.of(card)
        self._queue = backends.room.queue(card.name)
        self.prompt = self._model.prompt(asked.prompt)
        self._claim = Claim(tenant.name, tenant.priority, self._cost(self.prompt.tokens), len(asked.body))
        self._charged = self._claim
        self._arrived_ms = arrived_ms
        self.tried: set[str] = set()

    async def take(self) -> Placement | None:
        """The replica that it goes to, where it is booked and charged for; None if the client has left.

        Raises:
            GatewayError: 503, no replica is ready, it may not wait, or has waited in vain; 404 if the model is taken
                away meanwhile.
        """
        if not self.tried:
            self._queue.shares.asked(self._claim.tenant, self._claim.tokens, self._arrived_ms)
        if not self._backends.room.waiting(self._card.name) and not self._is_asleep:
            placement = self._place()
            if placement is not None:
                return placement
        try:
            return await self._wait()
        except GatewayError as error:
            if error.status >= 500 and self._is_asleep:
                self._backends.room.turn_away(self._card.name)
            raise

    def took(self, uncached_tokens: float, output_tokens: float) -> None:
        """What it was charged for when it was placed last took so much in the end."""
        self._queue.correct(self._charged, cost_tokens(uncached_tokens, output_tokens))

    def _place(self) -> Placement | None:
        """None: no replica is open to it now.

        Raises:
            GatewayError: 503, there is none that could become so.
        """
        candidates = self._candidates()
        if not candidates:
            return None
        router, standing = self._model.router, self._queue.shares.standing(self._claim.tenant)
        hold = Hold.of(router.slo, standing, router.typical_prefill_ms, len(candidates))
        placement = router.place_if_open(
            self.prompt, candidates, now_ms(), hold, session=self._session, shows_first_token=self._asked.stream
        )
        if placement is not None:
            uncached_tokens = placement.dispatch.prompt_tokens - placement.dispatch.hit_tokens
            self._charged = self._claim._replace(tokens=self._cost(uncached_tokens))
            self._queue.charge(self._charged)
        return placement

    def _candidates(self) -> list[str]:
        untried = [r for r in self._replicas() if r.replica_id not in self.tried]
        if self.tried and not untried:
            raise engine_unavailable()
        requests_on = self._model.router.requests_on
        if untried and not any(has_room(replica, requests_on) for replica in untried):
            return []
        return admit(self._card, untried, requests_on, self._backends.suspects.now())

    def _cost(self, uncached_tokens: float) -> float:
        return cost_tokens(uncached_tokens, self._model.router.estimator.output_tokens)

    def _replicas(self) -> tuple[ReplicaInfo, ...]:
        replicas = self._backends.replicas.of(self._card.name)
        self._model.keep(replicas)
        return replicas

    async def _wait(self) -> Placement | None:
        room, response, settings = self._backends.room, self._answer.response, self._backends.settings()
        limit_s, place = self._patience.max_wait_s, self._join_line()
        self._stages.enter(QUEUE)
        response.on_gone = place.call
        try:
            began_s, next_word_s = time.monotonic(), settings.first_word_s if self._may_be_told else math.inf
            while not response.client_is_gone:
                self._look_at_card()
                is_up = place.is_first and not self._is_asleep
                if is_up:
                    self._stages.enter(ROUTE)
                    if (placement := self._place()) is not None:
                        self._queue.drain.let_in(self._claim.tokens, time.monotonic())
                        return placement
                    self._stages.enter(QUEUE)
                waited_s = time.monotonic() - began_s
                if waited_s >= limit_s:
                    raise self._in_vain(limit_s)
                if waited_s >= next_word_s:
                    self._answer.say(self._what_is_waited_for())
                    next_word_s = waited_s + settings.word_period_s
                within_s = min(limit_s, next_word_s) - waited_s
                await place.called(min(within_s, LOOK_AGAIN_S) if is_up else within_s)
        finally:
            room.leave(place)
            response.on_gone = None
        return None

    def _join_line(self) -> Place:
        room, expected_s = self._backends.room, self._expected_s()
        check_wait(self._card.name, self._patience, expected_s, is_asleep=self._is_asleep)
        most, retry_s = self._patience.max_waiting, retry_after(expected_s)
        return room.join(self._card.name, self._claim, most, retry_s, wakes=self._is_asleep)

    def _look_at_card(self) -> None:
        """What is known of the model may have changed since."""
        catalogue, name = self._backends.catalogue, self._card.name
        card = catalogue.get(name)
        if card is None:
            raise model_not_found(name, tuple(filter(self._tenant.may_use, catalogue.names())))
        self._card = card

    @property
    def longest_wait_s(self) -> float:
        return self._patience.max_wait_s

    @property
    def _patience(self) -> Wake:
        settings = self._backends.settings()
        return self._card.wake or Wake(settings.queue_max_wait_s, settings.queue_max_waiting)

    @property
    def _is_asleep(self) -> bool:
        """At zero replicas, and will wake."""
        return self._card.wake is not None and is_at_zero(self._backends.replicas.of(self._card.name), self.tried)

    def _expected_s(self) -> float:
        """Until it is let in, as far as known."""
        if self._is_asleep:
            return self._card.scaling.expected_wait_s(time.time())
        return self._queue.drain.wait_s(self._queue.tokens_ahead(self._claim))

    def _in_vain(self, limit_s: float) -> GatewayError:
        if not self._is_asleep:
            return at_capacity(self._card.name, max(FULL_RETRY_S, retry_after(self._expected_s())))
        return waited_in_vain(self._card.name, limit_s, self._card.not_ready, retry_after(self._expected_s()))

    def _what_is_waited_for(self) -> str:
        if not self._is_asleep:
            return f"{self._card.name} is awake and full; this request goes in as soon as others end."
        expected_s = self._expected_s()
        left = f"about {math.ceil(expected_s)} s" if expected_s else "any moment"
        return f"waking {self._card.name}, {left}: {self._card.not_ready}"
