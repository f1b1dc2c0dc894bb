"""Where a node's exporter listens: on its fixed port, or on a free one for as long as somebody else has that."""

import asyncio
import contextlib
import logging
import socket

import uvicorn
from starlette.applications import Starlette

from deployments.gateway.listener import listening_socket
from deployments.port_owner import owner_of

logger = logging.getLogger(__name__)

MOST_SCRAPES_AT_ONCE = 64
STOP_WITHIN_S = 5.0


class ExporterServer:
    """`listen` may be called again at any time: it moves to what is asked for as soon as that is possible."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._at: tuple[str, int] | None = None
        self._asked: tuple[str, int] | None = None
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def listen(self, host: str, port: int) -> int:
        """The port that it listens on.

        Raises:
            OSError: not an address of this machine.
        """
        if self._at == (host, port):
            return port
        is_new, self._asked = self._asked != (host, port), (host, port)
        try:
            bound = listening_socket(host, port, shared=False)
        except OSError as error:
            if not is_new and self._at is not None:
                return self._at[1]
            logger.error(
                "the exporter cannot have %s:%d (%s; %s has it): this node's metrics are on another port until then, "
                "which `baryon status --json` and every exporter's /sd tell",
                *(host, port, error.strerror, owner_of(port)),
            )
            bound = listening_socket(host, 0, shared=False)
        await self.close()
        self._at = host, bound.getsockname()[1]
        self._serve(bound)
        return self._at[1]

    async def close(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait((self._serving,), timeout=STOP_WITHIN_S)

    def _serve(self, bound: socket.socket) -> None:
        config = uvicorn.Config(
            self._app, log_config=None, access_log=False, lifespan="off", limit_concurrency=MOST_SCRAPES_AT_ONCE
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        self._serving = asyncio.create_task(self._server.serve(sockets=[bound]))
