"""`python -m tests.benchmarks.otlp_sink PORT`: takes whatever spans are sent, and forgets them."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def take(request: Request) -> Response:
    await request.body()
    return Response(media_type="application/x-protobuf")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v1/traces", take, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
