"""Every route of the admin port: the console's page and files, what it shows as JSON, and a model to talk to."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from deployments.admin.explanation import explanation
from deployments.admin.files import PAGE, SAFE, File
from deployments.admin.guard import refusal
from deployments.admin.peers import Peers
from deployments.admin.question import RequestsQuestion, identity, parameters
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import GatewayError, bad_request, internal_error, method_not_allowed, route_not_found
from deployments.gateway.http_server import CheckHead, Handler
from deployments.gateway.recipes.recipe_routes import ONE as ONE_RECIPE
from deployments.gateway.recipes.recipe_routes import ROUTE as RECIPES
from deployments.gateway.recipient import Headers
from deployments.gateway.response import Response

JSON: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *SAFE]
CHAT, MODELS = b"/v1/chat/completions", b"/v1/models"
PUBLIC_ROUTES = frozenset({CHAT, MODELS, RECIPES})
OVERVIEW, REQUESTS, DECISIONS = b"/admin/overview", b"/admin/requests", b"/admin/decisions"
ONE_REQUEST = REQUESTS + b"/"
COMPARED_WITH = 200

Document = dict[str, Any]
Decisions = Callable[[str], Awaitable[Document]]


def is_public(path: bytes) -> bool:
    return path in PUBLIC_ROUTES or path.startswith(ONE_RECIPE)


class AdminApp:
    """`public`: the gateway's own routes, by its own rules for keys, of which a page needs some. `overview` and
    `decisions` make what these routes answer; the latter raises a GatewayError where state is away.
    """

    def __init__(
        self,
        peers: Peers,
        files: Mapping[bytes, File],
        overview: Callable[[], Awaitable[Document]],
        decisions: Decisions,
        public: Handler,
        public_refusal: CheckHead,
    ) -> None:
        self._peers = peers
        self._files = files
        self._overview = overview
        self._decisions = decisions
        self._public = public
        self._public_refusal = public_refusal
        self._tasks: set[asyncio.Task[None]] = set()

    def refusal(self, path: bytes, headers: Mapping[bytes, bytes]) -> GatewayError | None:
        """Why the body of a request with this head is not even kept."""
        refused = refusal(headers, is_page=path == PAGE)
        if refused is not None:
            return refused
        if is_public(path):
            return self._public_refusal(path, dict(headers))
        has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        return bad_request("This route takes no body.") if has_body else None

    def handle(self, request: ClientRequest, response: Response) -> None:
        """Route on the raw path; what is not listed does not exist."""
        refused = refusal(request.headers, is_page=request.path == PAGE)
        if is_public(request.path) and refused is None:
            self._public(request, response)
        elif (error := request.refusal or refused) is not None:
            response.send_error(error, SAFE)
        elif not self._exists(request.path):
            response.send_error(route_not_found(), SAFE)
        elif request.method not in (b"GET", b"HEAD"):
            response.send_error(method_not_allowed("GET"), [(b"allow", b"GET, HEAD"), *SAFE])
        elif request.path in self._files:
            file = self._files[request.path]
            response.send(
                200, [(b"content-type", file.content_type), (b"cache-control", b"no-cache"), *SAFE], file.content
            )
        else:
            task = asyncio.get_running_loop().create_task(self._answer(request, response))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _exists(self, path: bytes) -> bool:
        return path in self._files or path in (OVERVIEW, REQUESTS, DECISIONS) or path.startswith(ONE_REQUEST)

    async def _answer(self, request: ClientRequest, response: Response) -> None:
        try:
            answer = orjson.dumps(await self._document(request))
        except GatewayError as error:
            response.send_error(error, SAFE)
        except Exception:
            response.send_error(internal_error(), SAFE)
            raise
        else:
            response.send(200, JSON, answer)

    async def _document(self, request: ClientRequest) -> Document:
        """Raises:
        GatewayError: there is none such, or the question is none.
        """
        if request.path == OVERVIEW:
            parameters(request.query, frozenset())
            return await self._overview()
        if request.path == DECISIONS:
            model = parameters(request.query, frozenset({"model"})).get("model", "")
            if not model:
                raise bad_request("Say of which model: ?model=NAME", "model")
            return await self._decisions(model)
        if request.path == REQUESTS:
            rows, silent = await self._peers.requests(RequestsQuestion.read(request.query))
            return {"requests": rows, "silent_gateways": silent}
        parameters(request.query, frozenset())
        return await self._one_request(identity(request.path.removeprefix(ONE_REQUEST)))

    async def _one_request(self, wanted: str | None) -> Document:
        found, silent = await self._peers.request(wanted) if wanted else (None, 0)
        if found is None:
            also = f" {silent} gateways did not answer, which may have it." if silent else ""
            message = f"No gateway remembers a request with this id; each keeps the last thousand.{also}"
            raise GatewayError(404, "request_not_found", message)
        text = found.pop("text", None)
        others, _ = await self._peers.requests(RequestsQuestion(model=found["model"], limit=COMPARED_WITH))
        return {"request": found, "text": text, **explanation(found, others)}
