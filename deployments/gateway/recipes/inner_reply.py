"""An engine's answer kept in memory, for a recipe that reads it whole."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from deployments.gateway.errors import GatewayError, engine_error, engine_refused, engine_unavailable
from deployments.gateway.recipient import Headers


class InnerReply:
    """One answer. `over`: nothing more of it comes. `leave` is what a client's going is to a connection: the engine
    stops.
    """

    def __init__(self) -> None:
        self.also: Headers = []
        self.headers: Headers = []
        self.started = False
        self.status = 0
        self.client_is_gone = False
        self.on_gone: Callable[[], None] | None = None
        self.on_stall: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pieces: list[bytes] = []
        self._is_whole = False
        self._error: GatewayError | None = None

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        self.started, self.status, self.headers = True, status, headers

    def write(self, body: bytes) -> None:
        self._pieces.append(body)

    def finish(self) -> None:
        self._is_whole = True
        self.ends()

    def abort(self) -> None:
        """What there is of it is not the whole."""
        self.ends()

    def ends(self, *_: object) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        self.start(status, headers, len(body))
        self.write(body)
        self.finish()

    def send_error(self, error: GatewayError, headers: Headers) -> None:
        self._error = replace(error)
        self.start(error.status, headers, None)
        self.ends()

    def leave(self) -> None:
        if not self.client_is_gone:
            self.client_is_gone = True
            if self.on_gone is not None:
                self.on_gone()

    def document(self) -> dict[str, Any]:
        """Raises:
        GatewayError: as a client would have got it.
        """
        if self._error is not None:
            raise replace(self._error)
        if not self._is_whole:
            raise engine_unavailable()
        try:
            document = orjson.loads(b"".join(self._pieces))
        except orjson.JSONDecodeError:
            raise engine_error() from None
        if not isinstance(document, dict):
            raise engine_error()
        if self.status >= 400:
            raise refusal(self.status, document)
        return document


def refusal(status: int, document: dict[str, Any]) -> GatewayError:
    """What an engine says of a request that it does not take."""
    told = document.get("error")
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        return engine_refused(status)
    param = told.get("param")
    return GatewayError(status, "engine_refused", told["message"], param if isinstance(param, str) else None)
