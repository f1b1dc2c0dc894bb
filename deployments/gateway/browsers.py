"""Which web pages may call from a browser: none, unless the operator names their origins.

A browser says in `Origin` whose page it is that calls. Without this a page that somebody at this machine looks at could
make a gateway on loopback work for it: such a request needs nobody's permission to be sent, only to be read.
"""

import re
from collections.abc import Callable

from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import origin_not_allowed
from deployments.gateway.http_server import Handler
from deployments.gateway.recipient import Headers
from deployments.gateway.response import Response
from deployments.gateway.settings import GatewaySettings

ANY = "*"
PREFLIGHT_IS_GOOD_FOR_S = 600
HEADER_NAMES = re.compile(rb"[\w, -]{1,1024}", re.ASCII)


class Browsers:
    """In front of `handler`."""

    def __init__(self, handler: Handler, settings: Callable[[], GatewaySettings]) -> None:
        self._handler = handler
        self._settings = settings

    def handle(self, request: ClientRequest, response: Response) -> None:
        origin = request.headers.get(b"origin")
        if origin is None:
            self._handler(request, response)
            return
        if not is_allowed(origin, self._settings()):
            response.send_error(origin_not_allowed(), [(b"vary", b"origin")])
            return
        response.also = [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"origin"),
        ]
        if request.method == b"OPTIONS" and b"access-control-request-method" in request.headers:
            response.send(200, permissions(request), b"")
        else:
            self._handler(request, response)


def is_allowed(origin: bytes, settings: GatewaySettings) -> bool:
    allowed = settings.cors_origins
    return bool(allowed) and (ANY in allowed or origin.decode("latin-1").lower() in allowed)


def permissions(preflight: ClientRequest) -> Headers:
    """Credentials are none of them: a key is in a header that the page itself has to set."""
    asked = preflight.headers.get(b"access-control-request-headers", b"")
    return [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", asked if HEADER_NAMES.fullmatch(asked) else b"authorization, content-type"),
        (b"access-control-max-age", b"%d" % PREFLIGHT_IS_GOOD_FOR_S),
    ]
