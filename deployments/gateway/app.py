"""The path of a request, top to bottom: read → (who is it) → may it enter → which replica → relay → (account)."""

import asyncio
import secrets
import time
from collections.abc import Callable
from random import Random

import orjson

from deployments.gateway.admission import admit
from deployments.gateway.attempt import Attempt
from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.errors import (
    GatewayError,
    engine_error,
    engine_unavailable,
    method_not_allowed,
    model_not_found,
    route_not_found,
    shutting_down,
)
from deployments.gateway.http_server import ClientRequest, Headers, Response
from deployments.gateway.model_routers import ModelRouters, now_ms
from deployments.gateway.relay import Outcome, Relay, engine_request
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.request import InferenceRequest, read_inference_request
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.suspects import Suspects
from deployments.gateway.upstream import EngineConnection, EnginePool
from engine.guard import GENERATION_ROUTES

INFERENCE_ROUTES = frozenset(path for _, path in GENERATION_ROUTES)
MODEL_ROUTE = b"/v1/models/"
JSON: Headers = [(b"content-type", b"application/json")]
REPLICAS_TRIED = 3
SESSION_HEADER = b"x-baryon-session"
EXPLAIN_HEADER = b"x-baryon-explain"


class GatewayApp:
    """Answers requests. Everything it knows of the cluster comes from `replicas` and `catalogue`."""

    def __init__(
        self,
        settings: Callable[[], GatewaySettings],
        replicas: ReplicaTable,
        catalogue: Catalogue,
        random: Random | None = None,
    ) -> None:
        self._settings = settings
        self._replicas = replicas
        self._catalogue = catalogue
        self._pool = EnginePool()
        self.routers = ModelRouters(random)
        self._suspects = Suspects(time.monotonic)
        self._tasks: set[asyncio.Task[None]] = set()
        self._started_s = int(time.time())
        self.draining = False

    def handle(self, request: ClientRequest, response: Response) -> None:
        """Route on the raw path; what is not listed does not exist."""
        if request.path in INFERENCE_ROUTES:
            if request.method == b"POST":
                task = asyncio.get_running_loop().create_task(self._infer(request, response))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                response.send_error(method_not_allowed("POST"), [(b"allow", b"POST")])
            return
        try:
            answer = self._read_only(request.path)
        except GatewayError as error:
            response.send_error(error, [])
            return
        if request.method not in (b"GET", b"HEAD"):
            response.send_error(method_not_allowed("GET"), [(b"allow", b"GET, HEAD")])
            return
        response.send(200, JSON, orjson.dumps(answer))

    def in_flight(self) -> int:
        return len(self._tasks)

    def close(self) -> None:
        self._pool.close()

    async def _infer(self, request: ClientRequest, response: Response) -> None:
        request_id = f"req-{secrets.token_hex(12)}".encode()
        headers = response_headers(request, request_id)
        try:
            inference = read_inference_request(request.path, request.body)
            card = self._catalogue.get(inference.model)
            if card is None:
                raise model_not_found(inference.model, self._catalogue.names())
            await self._relay_to_some_replica(card, inference, request, response, headers, request_id)
        except GatewayError as error:
            if not response.client_is_gone:
                response.send_error(error, headers)
        except Exception:
            if response.started:
                response.abort()
            else:
                response.send_error(engine_error(), headers)
            raise

    async def _relay_to_some_replica(
        self,
        card: ModelCard,
        inference: InferenceRequest,
        request: ClientRequest,
        response: Response,
        headers: Headers,
        request_id: bytes,
    ) -> None:
        """Ask replicas in turn until one has sent a byte. No byte reaches the client before that."""
        model = self.routers.of(card)
        prompt = model.prompt(inference.prompt)
        tried: set[str] = set()
        for _ in range(REPLICAS_TRIED):
            replicas = self._replicas.of(card.name)
            model.keep(replicas)
            by_id = {r.replica_id: r for r in replicas if r.replica_id not in tried}
            if tried and not by_id:
                break
            candidates = admit(card, tuple(by_id.values()), model.router.requests_on, self._suspects.now())
            placement = model.router.place(
                prompt,
                candidates,
                now_ms(),
                session=request.headers.get(SESSION_HEADER),
                shows_first_token=inference.stream,
            )
            attempt = Attempt(model, placement, inference, explains=request.headers.get(EXPLAIN_HEADER) == b"1")
            try:
                outcome = await self._relay(by_id[placement.replica], request, response, headers, request_id, attempt)
            finally:
                attempt.finish()
            if outcome != "not_started":
                return
            self._suspects.add(placement.replica)
            tried.add(placement.replica)
        raise engine_unavailable()

    async def _relay(
        self,
        replica: ReplicaInfo,
        request: ClientRequest,
        response: Response,
        headers: Headers,
        request_id: bytes,
        attempt: Attempt,
    ) -> Outcome:
        headers = [*headers, *attempt.headers()]
        dispatch = attempt.dispatch_header(self.routers.gateway_id, request_id)
        wire = engine_request(request.path, attempt.body, replica.url, replica.token, request_id, dispatch)
        connection = self._pool.take(replica.url)
        if connection is not None:
            outcome = await self._exchange(connection, wire, request, response, headers, attempt)
            if outcome != "not_started":
                return outcome
        try:
            connection = await self._pool.connect(replica.url, self._settings().connect_timeout_s)
        except OSError:
            return "not_started"
        if response.client_is_gone:
            connection.abort()
            return "client_gone"
        return await self._exchange(connection, wire, request, response, headers, attempt)

    async def _exchange(
        self,
        connection: EngineConnection,
        wire: bytes,
        request: ClientRequest,
        response: Response,
        headers: Headers,
        attempt: Attempt,
    ) -> Outcome:
        relay = Relay(response, headers, request.path, self._settings(), attempt.tap)
        relay.begin(connection, wire)
        return await relay.outcome

    def _read_only(self, path: bytes) -> object:
        """Raises:
        GatewayError: no such route or model.
        """
        if path == b"/v1/models":
            return {"object": "list", "data": [self._model_object(card) for card in self._catalogue.cards()]}
        if path.startswith(MODEL_ROUTE):
            name = path.removeprefix(MODEL_ROUTE).decode("utf-8", "replace")
            card = self._catalogue.get(name)
            if card is None:
                raise model_not_found(name, self._catalogue.names())
            return self._model_object(card)
        if path in (b"/health", b"/-/healthz"):
            if self.draining:
                raise shutting_down()
            return {"status": "ok", "ready_replicas": {n: len(self._replicas.of(n)) for n in self._catalogue.names()}}
        raise route_not_found()

    def _model_object(self, card: ModelCard) -> dict[str, object]:
        replicas = self._replicas.of(card.name)
        return {
            "id": card.name,
            "object": "model",
            "created": self._started_s,
            "owned_by": "baryon",
            "engine": card.engine,
            "max_model_len": replicas[0].max_model_len if replicas else card.max_model_len,
            "ready_replicas": len(replicas),
        }


def response_headers(request: ClientRequest, request_id: bytes) -> Headers:
    """Our id of the request, and the client's own beside it if it is plain text."""
    headers = [(b"x-request-id", request_id)]
    theirs = request.headers.get(b"x-request-id")
    if theirs and len(theirs) <= 128 and theirs.isascii() and theirs.decode().isprintable():
        headers.append((b"x-client-request-id", theirs))
    return headers
