"""The exporter's routes: `/metrics`, and `/sd`, where a Prometheus finds every node's exporter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from monitoring.exporter import Exporter

LONGEST_WAIT_S = 3.0
TIMEOUT_HEADER = "x-prometheus-scrape-timeout-seconds"
PART_FOR_ENGINES = 0.6


@dataclass(frozen=True, slots=True)
class Target:
    """One node's exporter, as `host:port`."""

    node: str
    address: str


def exporter_app(exporter: Exporter, targets: Callable[[], Sequence[Target]]) -> Starlette:
    async def metrics(request: Request) -> Response:
        within_s = wait_of(request.headers.get(TIMEOUT_HEADER))
        page, content_type = await exporter.page(request.headers.get("accept", ""), within_s)
        return Response(page, headers={"content-type": content_type})

    async def discovery(_: Request) -> Response:
        return JSONResponse(http_sd(targets()))

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes = [Route("/metrics", metrics), Route("/sd", discovery), Route("/-/healthz", health)]
    return Starlette(routes=routes, middleware=[Middleware(GZipMiddleware, minimum_size=1024, compresslevel=1)])


def http_sd(targets: Sequence[Target]) -> list[dict[str, object]]:
    """As Prometheus's `http_sd_configs` and `file_sd_configs` read it."""
    return [{"targets": [target.address], "labels": {"node": target.node}} for target in targets]


def wait_of(scrape_timeout: str | None) -> float:
    """How long engines may take of a scrape that ends after `scrape_timeout` seconds."""
    try:
        allowed_s = PART_FOR_ENGINES * float(scrape_timeout or "inf")
    except ValueError:
        return LONGEST_WAIT_S
    return min(LONGEST_WAIT_S, allowed_s) if allowed_s > 0 else LONGEST_WAIT_S
