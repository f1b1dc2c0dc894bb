"""One inference request, from what it asks to the end of its answer: may it enter → which replica → relay → account."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from deployments.gateway.admission import FULL_RETRY_S, admit, check_wait, has_room, is_at_zero, retry_after
from deployments.gateway.answer import Answer
from deployments.gateway.attempt import Attempt
from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.errors import GatewayError, at_capacity, engine_unavailable, model_not_found, waited_in_vain
from deployments.gateway.http_server import ClientRequest
from deployments.gateway.model_routers import ModelRouters, now_ms
from deployments.gateway.relay import Outcome, Relay, engine_request
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.request import InferenceRequest
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.suspects import Suspects
from deployments.gateway.tenants.spending import UNLIMITED, Spending
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.upstream import EngineConnection, EnginePool
from deployments.gateway.usage_tally import UsageTally
from deployments.gateway.waiting_room import Place, WaitingRoom

REPLICAS_TRIED = 3
SESSION_HEADER = b"x-baryon-session"
EXPLAIN_HEADER = b"x-baryon-explain"
EVENT_STREAM_ROUTES = frozenset({b"/v1/chat/completions", b"/v1/completions", b"/v1/responses", b"/v1/messages"})


@dataclass(frozen=True, slots=True)
class Backends:
    """What the requests of one gateway share: the models and replicas there are, and the way to them."""

    settings: Callable[[], GatewaySettings]
    catalogue: Catalogue
    replicas: ReplicaTable
    routers: ModelRouters
    suspects: Suspects
    pool: EnginePool
    room: WaitingRoom
    spending: Spending
    tally: UsageTally


class Inference:
    """`run` once. `arrived_ms`: when the whole request was here."""

    def __init__(
        self,
        backends: Backends,
        card: ModelCard,
        asked: InferenceRequest,
        tenant: Tenant,
        request: ClientRequest,
        answer: Answer,
        request_id: bytes,
        arrived_ms: float,
    ) -> None:
        self._backends = backends
        self._card = card
        self._asked = asked
        self._tenant = tenant
        self._request = request
        self._answer = answer
        self._request_id = request_id
        self._arrived_ms = arrived_ms
        self._model = backends.routers.of(card)
        self._prompt = self._model.prompt(asked.prompt)
        self._tried: set[str] = set()
        self._tokens = 0
        self._attempt: Attempt | None = None
        self._usage = backends.tally.request(tenant.name, card.name)

    async def run(self) -> None:
        """Raises:
        GatewayError: it is over a limit, or no replica has taken it.
        """
        if self._tenant.limits == UNLIMITED:
            await self._run()
            return
        prompt_tokens, also = math.ceil(self._prompt.tokens), self._answer.response.also
        charge = await self._backends.spending.let_in(
            self._tenant, self._card.name, prompt_tokens, self._asked.output_at_most, also
        )
        charge.delivered = lambda: self._attempt.tap.delivered().tokens if self._attempt is not None else 0
        try:
            await self._run()
        finally:
            charge.settle(self._tokens)

    async def _run(self) -> None:
        self._model.meter.arrived(self._prompt.tokens, self._arrived_ms)
        try:
            await self._relay_to_some_replica()
        except GatewayError:
            self._model.meter.finished(met=False)
            raise

    async def _relay_to_some_replica(self) -> None:
        """Ask replicas in turn until one has sent a byte. No byte of an engine reaches the client before that."""
        headers = self._request.headers
        for _ in range(REPLICAS_TRIED):
            admitted = await self._wait_for_a_replica() if self._must_wait() else self._admitted()
            if self._answer.response.client_is_gone:
                return
            placement = self._model.router.place(
                self._prompt,
                tuple(admitted),
                now_ms(),
                session=headers.get(SESSION_HEADER),
                shows_first_token=self._asked.stream,
            )
            explains = headers.get(EXPLAIN_HEADER) == b"1"
            attempt = Attempt(self._model, placement, self._asked, self._arrived_ms, self._usage, explains=explains)
            self._attempt = attempt
            self._usage.asks((placement.replica, self._key), attempt.tap.delivered)
            outcome: Outcome = "failed"
            try:
                outcome = await self._relay(admitted[placement.replica], attempt)
            finally:
                self._tokens += attempt.finish(outcome).tokens
                self._backends.room.call_first(self._card.name)
            if outcome != "not_started":
                return
            self._backends.suspects.add(placement.replica)
            self._tried.add(placement.replica)
        raise engine_unavailable()

    @property
    def _key(self) -> str:
        """What engines call it."""
        return f"{self._backends.routers.gateway_id}/{self._request_id.decode()}"

    def _admitted(self) -> dict[str, ReplicaInfo]:
        """Raises:
        GatewayError: 503, there is no replica that could take it.
        """
        replicas = self._backends.replicas.of(self._card.name)
        self._model.keep(replicas)
        untried = {r.replica_id: r for r in replicas if r.replica_id not in self._tried}
        if self._tried and not untried:
            raise engine_unavailable()
        requests_on = self._model.router.requests_on
        return {
            replica: untried[replica]
            for replica in admit(self._card, tuple(untried.values()), requests_on, self._backends.suspects.now())
        }

    def _must_wait(self) -> bool:
        """For a replica to wake, or behind those who do."""
        if self._card.wake is None:
            return False
        return self._backends.room.waiting(self._card.name) > 0 or self._is_at_zero

    async def _wait_for_a_replica(self) -> dict[str, ReplicaInfo]:
        """Those that may take it, once it is the first in the line; what they are is of no use if the client has left.

        Raises:
            GatewayError: 503 if it may not wait or has waited in vain, 404 if the model is taken away meanwhile.
        """
        wake, room, response = self._card.wake, self._backends.room, self._answer.response
        settings = self._backends.settings()
        assert wake is not None
        try:
            place = self._join_line()
            response.on_gone = place.call
            try:
                began_s, next_word_s = time.monotonic(), settings.first_word_s if self._may_be_told() else math.inf
                while not response.client_is_gone:
                    self._look_at_card()
                    if place.is_first and self._may_be_admitted():
                        return self._admitted()
                    waited_s = time.monotonic() - began_s
                    if waited_s >= wake.max_wait_s:
                        raise self._in_vain(wake.max_wait_s)
                    if waited_s >= next_word_s:
                        self._answer.say(self._what_is_waited_for())
                        next_word_s = waited_s + settings.word_period_s
                    await place.called(min(wake.max_wait_s, next_word_s) - waited_s)
            finally:
                room.leave(place)
                response.on_gone = None
        except GatewayError as error:
            if error.status >= 500:
                room.turn_away(self._card.name)
            raise
        return {}

    def _join_line(self) -> Place:
        name, room, expected_s = self._card.name, self._backends.room, self._expected_s()
        check_wait(self._card, room.waiting(name), expected_s)
        return room.join(name, len(self._asked.body), retry_after(expected_s))

    def _look_at_card(self) -> None:
        """What is known of the model may have changed since."""
        catalogue, name = self._backends.catalogue, self._card.name
        card = catalogue.get(name)
        if card is None:
            raise model_not_found(name, tuple(filter(self._tenant.may_use, catalogue.names())))
        self._card = card

    def _may_be_admitted(self) -> bool:
        replicas = self._backends.replicas.of(self._card.name)
        untried = [r for r in replicas if r.replica_id not in self._tried]
        if not untried:
            return not self._is_at_zero
        return any(has_room(r, self._model.router.requests_on) for r in untried)

    @property
    def _is_at_zero(self) -> bool:
        return is_at_zero(self._backends.replicas.of(self._card.name), self._tried)

    def _expected_s(self) -> float:
        """Until it is let in, as far as known: nothing is known of how long replicas that are full stay so."""
        return self._card.scaling.expected_wait_s(time.time()) if self._is_at_zero else 0.0

    def _in_vain(self, limit_s: float) -> GatewayError:
        if not self._is_at_zero:
            return at_capacity(self._card.name, FULL_RETRY_S)
        return waited_in_vain(self._card.name, limit_s, self._card.not_ready, retry_after(self._expected_s()))

    def _may_be_told(self) -> bool:
        return self._asked.stream and self._request.path in EVENT_STREAM_ROUTES

    def _what_is_waited_for(self) -> str:
        if not self._is_at_zero:
            return f"{self._card.name} is awake and full; this request goes in as soon as others end."
        expected_s = self._expected_s()
        left = f"about {math.ceil(expected_s)} s" if expected_s else "any moment"
        return f"waking {self._card.name}, {left}: {self._card.not_ready}"

    async def _relay(self, replica: ReplicaInfo, attempt: Attempt) -> Outcome:
        dispatch = attempt.dispatch_header(self._backends.routers.gateway_id, self._request_id)
        path = self._request.path
        wire = engine_request(
            path, attempt.body, replica.url, replica.token, self._request_id, dispatch, self._tenant.name
        )
        kept_open = self._backends.pool.take(replica.url)
        if kept_open is not None:
            outcome = await self._exchange(kept_open, wire, replica, attempt)
            if outcome != "not_started":
                return outcome
        try:
            connection = await self._backends.pool.connect(replica.url, self._backends.settings().connect_timeout_s)
        except OSError:
            return "not_started"
        if self._answer.response.client_is_gone:
            connection.abort()
            return "client_gone"
        return await self._exchange(connection, wire, replica, attempt)

    async def _exchange(
        self, connection: EngineConnection, wire: bytes, replica: ReplicaInfo, attempt: Attempt
    ) -> Outcome:
        named = attempt.headers()
        relay = Relay(self._answer, named, self._backends.settings(), attempt.tap)
        relay.begin(connection, wire)
        outcome = await relay.outcome
        if outcome != "failed":
            return outcome
        if self._is_leaving(replica):
            return "not_started"
        self._answer.fail(relay.failure, named)
        return "failed"

    def _is_leaving(self, replica: ReplicaInfo) -> bool:
        """It ends, or has ended: what its engine failed on is not the request's fault."""
        replicas = self._backends.replicas.of(self._card.name)
        return all(r.is_leaving for r in replicas if r.replica_id == replica.replica_id)
