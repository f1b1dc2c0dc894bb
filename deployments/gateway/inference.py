"""One inference request, from what it asks to the end of its answer: may it enter → which replica → relay → account."""

import math
from functools import partial

from deployments.gateway.answer import Answer
from deployments.gateway.attempt import Attempt
from deployments.gateway.backends import Backends
from deployments.gateway.catalogue import ModelCard
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import GatewayError, engine_unavailable
from deployments.gateway.model_routers import now_ms
from deployments.gateway.relay import Outcome, Relay, engine_request
from deployments.gateway.replica_table import ReplicaInfo
from deployments.gateway.request import InferenceRequest
from deployments.gateway.stages import CONNECT, ENGINE, QUEUE, ROUTE
from deployments.gateway.tenants.spending import UNLIMITED
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.texts.heard_relay import HeardRelay
from deployments.gateway.texts.request_text import RequestText
from deployments.gateway.turn import Turn
from deployments.gateway.upstream import EngineConnection

REPLICAS_TRIED = 3
EXPLAIN_HEADER = b"x-baryon-explain"
TIMING_HEADER = b"x-baryon-timing"


class Inference:
    """`run` once. `text`: hears the answer, if it is to be shown.

    `_call_first`: a replica has less to do, and whoever is first in the line may go there.
    """

    def __init__(
        self,
        backends: Backends,
        card: ModelCard,
        asked: InferenceRequest,
        tenant: Tenant,
        request: ClientRequest,
        answer: Answer,
        text: RequestText | None = None,
    ) -> None:
        self._backends = backends
        self._card = card
        self._asked = asked
        self._tenant = tenant
        self._request = request
        self._answer = answer
        self._text = text
        self._record = answer.record
        self._arrived_ms = self._record.stages.began_ms
        self._model = backends.routers.of(card)
        self._turn = Turn(backends, card, asked, tenant, request, answer, self._arrived_ms)
        self._tokens = 0
        self._attempt: Attempt | None = None
        self._usage = backends.tally.request(tenant.name, card.name)
        self._call_first = partial(backends.room.call_first, card.name)

    async def run(self) -> None:
        """Raises:
        GatewayError: it is over a limit, or no replica has taken it.
        """
        if self._tenant.limits == UNLIMITED:
            await self._run()
            return
        prompt_tokens, also = math.ceil(self._turn.prompt.tokens), self._answer.response.also
        self._record.stages.enter(QUEUE)
        charge = await self._backends.spending.let_in(
            self._tenant, self._card.name, prompt_tokens, self._asked.output_at_most, also, self._may_wait
        )
        self._record.stages.enter(ROUTE)
        charge.delivered = lambda: self._attempt.tap.delivered().tokens if self._attempt is not None else 0
        try:
            await self._run()
        finally:
            charge.settle(self._tokens)

    def _may_wait(self) -> bool:
        """For a slot: no longer than for a replica, nor for a client that has left."""
        waits = self._asked.waits_for_slot and not self._answer.response.client_is_gone
        return waits and now_ms() - self._arrived_ms < self._turn.longest_wait_s * 1000

    async def _run(self) -> None:
        self._model.meter.arrived(self._turn.prompt.tokens, self._arrived_ms)
        try:
            await self._relay_to_some_replica()
        except GatewayError:
            self._record.slo_met = False
            self._model.meter.finished(met=False)
            raise

    async def _relay_to_some_replica(self) -> None:
        """Ask replicas in turn until one has sent a byte. No byte of an engine reaches the client before that."""
        wants = self._request.headers.get
        explains, times = wants(EXPLAIN_HEADER) == b"1", wants(TIMING_HEADER) == b"1"
        for _ in range(REPLICAS_TRIED):
            if self._answer.response.client_is_gone:
                return
            placement = await self._turn.take()
            if placement is None:
                return
            attempt = self._attempt = Attempt(
                self._model,
                placement,
                self._asked,
                self._record,
                self._usage,
                self._call_first,
                explains=explains,
                times=times,
            )
            self._usage.asks((placement.replica, self._key), attempt.tap.delivered)
            outcome: Outcome = "failed"
            try:
                outcome = await self._relay(self._replica(placement.replica), attempt)
            finally:
                self._tokens += attempt.finish(outcome).tokens
                self._settle(attempt, outcome)
                self._call_first()
            if outcome != "not_started":
                return
            self._backends.suspects.add(placement.replica)
            self._turn.tried.add(placement.replica)
        raise engine_unavailable()

    @property
    def _key(self) -> str:
        """What engines call it."""
        return f"{self._record.gateway_id}/{self._record.request_id}"

    def _replica(self, replica_id: str) -> ReplicaInfo:
        return next(r for r in self._backends.replicas.of(self._card.name) if r.replica_id == replica_id)

    def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """What the tenant was charged becomes what it took; where nobody told that, it stays."""
        usage = attempt.tap.usage()
        if outcome == "not_started":
            self._turn.took(0.0, 0.0)
        elif usage is not None:
            self._turn.took(usage.prompt_tokens - (usage.cached_tokens or 0), usage.output_tokens)

    async def _relay(self, replica: ReplicaInfo, attempt: Attempt) -> Outcome:
        self._record.stages.enter(CONNECT)
        request_id, path = self._record.request_id.encode(), self._request.path
        dispatch = attempt.dispatch_header(self._record.gateway_id, request_id)
        trace = self._record.trace.asks(replica.replica_id) if self._record.trace is not None else b""
        wire = engine_request(
            path, attempt.body, replica.url, replica.token, request_id, dispatch, self._tenant.name, trace
        )
        kept_open = self._backends.pool.take(replica.url)
        if kept_open is not None:
            outcome = await self._exchange(kept_open, wire, replica, attempt)
            if outcome != "not_started":
                return outcome
            self._record.stages.enter(CONNECT)
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
        given = (self._answer, named, self._backends.settings(), attempt.tap)
        relay = Relay(*given) if self._text is None else HeardRelay(*given, self._text)
        relay.begin(connection, wire)
        self._record.stages.enter(ENGINE)
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
