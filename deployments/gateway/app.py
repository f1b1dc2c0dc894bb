"""Every route of the gateway. What generates is handed on to `inference.py`."""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from http import HTTPStatus
from random import Random
from typing import Any

import orjson

from cluster.autoscaler.demand import Demand
from deployments.gateway.answer import Answer
from deployments.gateway.backends import Backends
from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import (
    GatewayError,
    engine_error,
    internal_error,
    method_not_allowed,
    model_not_for,
    model_not_found,
    names_key_redacts,
    not_ready_yet,
    route_not_found,
    shutting_down,
)
from deployments.gateway.for_client import for_client
from deployments.gateway.inference import Inference
from deployments.gateway.model_routers import ModelRouters
from deployments.gateway.privacy.names_header import ASKS_FOR_NAMES
from deployments.gateway.readiness import Readiness
from deployments.gateway.recent_requests import RecentRequests
from deployments.gateway.recipes.inner_calls import Origin
from deployments.gateway.recipes.recipe_routes import ONE as RECIPE_ROUTE
from deployments.gateway.recipes.recipe_routes import ROUTE as RECIPES_ROUTE
from deployments.gateway.recipes.recipe_routes import RecipeRoutes
from deployments.gateway.recipient import Header, Headers, Recipient
from deployments.gateway.replica_table import ReplicaTable
from deployments.gateway.request import InferenceRequest
from deployments.gateway.request_log import log_request
from deployments.gateway.request_reader import RequestReader
from deployments.gateway.request_record import Observer, RequestRecord, Tracing
from deployments.gateway.request_trace import trace_id_in
from deployments.gateway.response import Response
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.stages import AUTH, READ, ROUTE, Stages
from deployments.gateway.suspects import Suspects
from deployments.gateway.tenants.door import OPEN_ROUTES, READY_ROUTE, Door
from deployments.gateway.tenants.spending import Spending
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.texts.kept_texts import KeptTexts
from deployments.gateway.texts.request_text import RequestText
from deployments.gateway.upstream import EnginePool
from deployments.gateway.usage_tally import UsageTally
from deployments.gateway.waiting_room import WaitingRoom
from engine.guard import GENERATION_ROUTES

logger = logging.getLogger(__name__)

INFERENCE_ROUTES = frozenset(path for _, path in GENERATION_ROUTES)
MODEL_ROUTE = b"/v1/models/"
NOBODY = Tenant("nobody", models=frozenset())
AUTHENTICATE: Headers = [(b"www-authenticate", b"Bearer")]
JSON: Headers = [(b"content-type", b"application/json")]


class GatewayApp:
    """Answers requests. Everything it knows of the cluster comes from `replicas` and `catalogue`.

    Each of `observers` is given the record of every inference request once, when it has ended; `recent` keeps the last.
    `key_errors`: requests for any route that were answered with 401, by error code.
    """

    def __init__(
        self,
        settings: Callable[[], GatewaySettings],
        replicas: ReplicaTable,
        catalogue: Catalogue,
        door: Door,
        random: Random | None = None,
    ) -> None:
        self._replicas = replicas
        self._catalogue = catalogue
        self.door = door
        self._pool = EnginePool()
        self._reader = RequestReader(settings)
        self.routers = ModelRouters(random)
        self._suspects = Suspects(time.monotonic)
        self.room = WaitingRoom()
        self.spending = Spending(self.routers.gateway_id)
        self.tally = UsageTally()
        self.recent = RecentRequests(texts=KeptTexts(door.tenant_named))
        self.observers: list[Observer] = []
        self.tracing: Tracing | None = None
        self.key_errors: Counter[str] = Counter()
        self._backends = Backends(
            settings,
            catalogue,
            replicas,
            self.routers,
            self._suspects,
            self._pool,
            self.room,
            self.spending,
            self.tally,
        )
        self.recipes = RecipeRoutes(
            self, settings, self._models, self._card, self._context_tokens, self._version, self._reader.redactor
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._started_s = int(time.time())
        self._readiness = Readiness()
        self.draining = False

    def handle(self, request: ClientRequest, response: Response) -> None:
        """Route on the raw path; what is not listed does not exist."""
        is_recipe = request.path.startswith(RECIPE_ROUTE)
        if (is_recipe or request.path in INFERENCE_ROUTES) and request.method == b"POST":
            self._begin(request, response, is_recipe=is_recipe)
        else:
            self._tell(request, response)

    def _begin(self, request: ClientRequest, response: Response, *, is_recipe: bool) -> None:
        answer = self._answer(request, response, RECIPES_ROUTE if is_recipe else request.path)
        record = answer.record
        try:
            tenant = self._tenant(request)
        except GatewayError as error:
            answer.fail(error, self._challenge(error))
            self._end(record, response)
            return
        self._run(self._recipe(request, tenant, answer) if is_recipe else self._infer(request, tenant, answer))

    def ask_engine(
        self, request: ClientRequest, document: dict[str, Any], tenant: Tenant, recipient: Recipient, origin: Origin
    ) -> tuple[RequestRecord, asyncio.Task[None]]:
        """A recipe asks, for its client."""
        answer = self._answer(request, recipient, request.path, origin)
        return answer.record, self._run(self._infer(request, tenant, answer, document, origin))

    def _answer(
        self, request: ClientRequest, recipient: Recipient, path: bytes, origin: Origin | None = None
    ) -> Answer:
        """An answer to come, with a new record. `path` is a route that there is."""
        record = RequestRecord(f"req-{secrets.token_hex(12)}", self.routers.gateway_id, path.decode())
        if origin is not None:
            record.recipe, record.part_of = origin.recipe, origin.request_id
        if self.tracing is not None:
            record.trace = self.tracing.begin(request.headers, record)
            record.trace_id = record.trace.trace_id
        elif b"traceparent" in request.headers:
            record.trace_id = trace_id_in(request.headers)
        return Answer(recipient, path, response_headers(request, record), record)

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tell(self, request: ClientRequest, response: Response) -> None:
        """Whatever is no inference."""
        stages = Stages()
        try:
            tenant = self._tenant(request)
        except GatewayError as error:
            response.also.append(timing_of_auth(stages))
            response.send_error(error, self._challenge(error))
            return
        response.also.append(timing_of_auth(stages))
        if request.path in INFERENCE_ROUTES:
            response.send_error(method_not_allowed("POST"), [(b"allow", b"POST")])
            return
        try:
            answer = self._read_only(request.path, tenant)
        except GatewayError as error:
            response.send_error(error, [])
            return
        if request.method not in (b"GET", b"HEAD"):
            allowed = "GET, HEAD, POST" if request.path.startswith(RECIPE_ROUTE) else "GET, HEAD"
            response.send_error(method_not_allowed(allowed), [(b"allow", allowed.encode())])
            return
        response.send(200, JSON, orjson.dumps(answer))

    def in_flight(self) -> int:
        return len(self._tasks)

    def close(self) -> None:
        self._pool.close()

    def demand(self, at_ms: float) -> dict[str, Demand]:
        """What was asked of each model since the last time, and who waits now."""
        meters = {card.name: self.routers.of(card).meter for card in self._catalogue.cards()}
        return {name: meter.take(self.room.take_wanting(name), at_ms) for name, meter in meters.items()}

    def _tenant(self, request: ClientRequest) -> Tenant:
        """Raises:
        GatewayError: nobody that may ask for this.
        """
        if request.refusal is not None:
            raise replace(request.refusal)
        return NOBODY if request.path in OPEN_ROUTES else self.door.tenant(request.headers)

    def _challenge(self, error: GatewayError) -> Headers:
        """Headers for whom this is no tenant's key, who is counted."""
        if error.status != HTTPStatus.UNAUTHORIZED:
            return []
        self.key_errors[error.code] += 1
        return AUTHENTICATE

    async def _infer(
        self,
        request: ClientRequest,
        tenant: Tenant,
        answer: Answer,
        own: dict[str, Any] | None = None,
        origin: Origin | None = None,
    ) -> None:
        """`own`: what the gateway itself asks, instead of a client's body, and for which recipe."""
        record, response = answer.record, answer.response
        text: RequestText | None = None
        record.tenant, record.priority = tenant.name, tenant.priority
        record.stages.enter(READ)
        try:
            check_who_asks_for_names(request, tenant)
            salt = self.door.cache_salt(tenant)
            if own is None or origin is None:
                reading = self._reader.read(request.path, request.body, salt, tenant.privacy)
                asked = await (reading if tenant.privacy == "off" else for_client(response, reading))
            else:
                asked = self._reader.own(request.path, own, salt)
                asked = replace(asked, new_tap=origin.new_tap, waits_for_slot=origin.is_let_in)
            if tenant.show_text == "on":
                text = text_to_show(request, tenant, asked)
            if asked.redacted is not None:
                response.also.append(asked.redacted)
            request.body = b""
            record.stream = asked.stream
            card = self._card(asked.model, tenant)
            record.model = card.name
            record.stages.enter(ROUTE)
            await Inference(self._backends, card, asked, tenant, request, answer, text).run()
        except GatewayError as error:
            if not response.client_is_gone:
                answer.fail(error)
        except Exception:
            self._log_failure("request %s could not be handled", record)
            answer.fail(engine_error())
        finally:
            self._end(record, response)
            if text is not None:
                self._keep(text, record)

    async def _recipe(self, request: ClientRequest, tenant: Tenant, answer: Answer) -> None:
        """Its parts are requests like all others; only where there was none is it one itself, to those that count."""
        record, response = answer.record, answer.response
        record.tenant, record.priority = tenant.name, tenant.priority
        record.stages.enter(READ)
        try:
            check_who_asks_for_names(request, tenant)
            await self.recipes.run(request, tenant, answer)
        except GatewayError as error:
            if not response.client_is_gone:
                answer.fail(error)
        except Exception:
            self._log_failure("the recipe's call %s could not be handled", record)
            answer.fail(internal_error())
        finally:
            self._end(record, response, is_counted=not record.parts)

    def _end(self, record: RequestRecord, response: Recipient, *, is_counted: bool = True) -> None:
        """What is not counted is looked for all the same, where it went wrong."""
        record.stages.end()
        record.status = response.status
        observers: list[Observer] = self.observers if is_counted else [log_request]
        for observe in (*observers, self.tracing.ended) if self.tracing is not None else observers:
            try:
                observe(record)
            except Exception:
                self._log_failure("an observer failed on request %s", record)
        if is_counted or record.error_code:
            self.recent.keep(record)

    def _keep(self, text: RequestText, record: RequestRecord) -> None:
        """What goes wrong with it is told by its kind alone: a message could say what was said."""
        try:
            self.recent.texts.keep(record.request_id, text)
        except Exception as error:
            told = (record.request_id, type(error).__name__)
            logger.error("the text of request %s is not kept: %s", *told, extra={"request_id": record.request_id})

    def keys_changed(self) -> None:
        """What state last told of tenants and keys is in use."""
        self.spending.know(self.door.tenant_named)
        self.recent.texts.forget_hidden()

    def _log_failure(self, what: str, record: RequestRecord) -> None:
        logger.exception(what, record.request_id, extra={"request_id": record.request_id})

    def _card(self, name: str, tenant: Tenant) -> ModelCard:
        """Raises:
        GatewayError: 404, there is no such model for this tenant.
        """
        card = self._catalogue.get(name)
        if card is not None and tenant.may_use(name):
            return card
        names = tuple(filter(tenant.may_use, self._catalogue.names()))
        raise model_not_found(name, names) if tenant.models is None else model_not_for(name, names)

    def _read_only(self, path: bytes, tenant: Tenant) -> object:
        """Raises:
        GatewayError: no such route or model.
        """
        if path == b"/v1/models":
            return {"object": "list", "data": [self._model_object(card) for card in self._cards(tenant)]}
        if path == RECIPES_ROUTE or path.startswith(RECIPE_ROUTE):
            return self.recipes.tell(path, tenant)
        if path.startswith(MODEL_ROUTE):
            return self._model_object(self._card(path.removeprefix(MODEL_ROUTE).decode("utf-8", "replace"), tenant))
        if path in OPEN_ROUTES:
            if self.draining:
                raise shutting_down()
            if path == READY_ROUTE and not self._readiness.seen(self._catalogue.cards(), self._replicas):
                raise not_ready_yet()
            return {"status": "ok"}
        raise route_not_found()

    def _cards(self, tenant: Tenant) -> list[ModelCard]:
        return [card for card in self._catalogue.cards() if tenant.may_use(card.name)]

    def _models(self, tenant: Tenant) -> list[str]:
        return [card.name for card in self._cards(tenant)]

    def _context_tokens(self, model: str) -> int | None:
        replicas, card = self._replicas.of(model), self._catalogue.get(model)
        return min((one.max_model_len for one in replicas), default=card.max_model_len if card is not None else None)

    def _version(self, model: str) -> int:
        """Of what serves it: its replicas. A number, for it is kept with all that is remembered of a model."""
        return hash(frozenset(replica.replica_id for replica in self._replicas.of(model)))

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


def check_who_asks_for_names(request: ClientRequest, tenant: Tenant) -> None:
    """Raises:
    GatewayError: 400, to answer it names would have to be asked for.
    """
    if tenant.privacy != "off" and ASKS_FOR_NAMES in request.headers:
        raise names_key_redacts()


def text_to_show(request: ClientRequest, tenant: Tenant, asked: InferenceRequest) -> RequestText | None:
    """None of who asks for names in others' requests, of which nothing is taken out yet."""
    return None if ASKS_FOR_NAMES in request.headers else RequestText(tenant, request.path, asked.body)


def response_headers(request: ClientRequest, record: RequestRecord) -> Headers:
    """Our id of what the client asked for, and its own beside it if it is plain text, which the record then has too."""
    headers = [(b"x-request-id", (record.part_of or record.request_id).encode())]
    theirs = request.headers.get(b"x-request-id")
    if theirs and len(theirs) <= 128 and theirs.isascii() and theirs.decode().isprintable():
        headers.append((b"x-client-request-id", theirs))
        record.client_request_id = theirs.decode()
    return headers


def timing_of_auth(stages: Stages) -> Header:
    return (b"server-timing", b"auth;dur=%.3f" % stages.so_far_ms()[AUTH])
