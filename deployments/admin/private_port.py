"""The port at which other gateways ask this one. Nothing is there for anybody without the internal token."""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from deployments.admin.gateway_view import GatewayView
from deployments.admin.peers import NOW_ROUTE, REQUESTS_ROUTE
from deployments.admin.question import RequestsQuestion, identity
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import GatewayError, route_not_found
from deployments.gateway.recipient import Headers
from deployments.gateway.response import Response
from engine.guard import TOKEN_HEADER
from engine.internal_token import is_token

JSON: Headers = [(b"content-type", b"application/json")]
ONE_REQUEST = REQUESTS_ROUTE.encode() + b"/"


class PrivatePort:
    def __init__(self, view: GatewayView, secret: str) -> None:
        self._view = view
        self._secret = secret

    def refusal(self, _: bytes, headers: Mapping[bytes, bytes]) -> GatewayError | None:
        """404, as for a route that does not exist; nor is a body ever kept."""
        is_ours = is_token(self._secret, headers.get(TOKEN_HEADER, b""))
        has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        return None if is_ours and not has_body else route_not_found()

    def handle(self, request: ClientRequest, response: Response) -> None:
        try:
            answer = self._answer(request)
        except GatewayError as error:
            response.send_error(error, [])
            return
        response.send(200, JSON, orjson.dumps(answer))

    def _answer(self, request: ClientRequest) -> object:
        """Raises:
        GatewayError: no such route, or a question that is none.
        """
        if request.refusal is not None:
            raise replace(request.refusal)
        if request.method == b"GET":
            if request.path == NOW_ROUTE.encode():
                return self._view.now()
            if request.path == REQUESTS_ROUTE.encode():
                return self._view.requests(RequestsQuestion.read(request.query))
            if request.path.startswith(ONE_REQUEST):
                wanted = identity(request.path.removeprefix(ONE_REQUEST))
                return (self._view.request(wanted) if wanted else None) or {}
        raise route_not_found()
