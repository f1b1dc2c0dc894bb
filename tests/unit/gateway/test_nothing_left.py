"""What a request brought is let go as it ends, however it ends: bodies of many MiB wait for no garbage collector."""

import contextlib
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from deployments.gateway.answer_tap import AnswerTap
from deployments.gateway.attempt import Attempt
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.http_server import ClientConnection
from deployments.gateway.inference import Inference
from deployments.gateway.recipes.inner_reply import InnerReply
from deployments.gateway.request import InferenceRequest
from deployments.gateway.response import Response
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.upstream import EngineConnection
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import STREAMING, OpenStand, Stand, get, post, until
from tests.unit.gateway.recipes.stand import QUESTION
from tests.unit.gateway.scripted_engine import Script, hang_up, stream, stream_then_die, stream_then_stall, unary

HOLD_WHAT_CAME = (
    *(AnswerTap, Attempt, ClientConnection, ClientRequest, EngineConnection, Inference, InferenceRequest, InnerReply),
    Response,
)
SAID = b'{"choices": [{"message": {"content": "So."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}'
WELL = unary(SAID)
HALF = post(body={"model": "m", "prompt": "x" * 100_000})[:-50_000]
ASKED: dict[str, tuple[Script, bytes]] = {
    "answered": (WELL, post()),
    "streamed": (stream(b"data: 1\n\n", b"data: [DONE]\n\n"), post(body=STREAMING)),
    "not JSON": (WELL, post(body=b"{")),
    "no such model": (WELL, post(body={"model": "other", "messages": []})),
    "no such route": (WELL, get("/nothing")),
    "not HTTP": (WELL, b"GET / HTTP/1.1\r\nhost: \x00\r\n\r\n"),
    "larger than a body may be": (WELL, post(body=b" " * 200_000)),
    "refused by the engine": (unary(b'{"error": {"message": "no"}}', b"400 Bad Request"), post()),
    "the engine fails": (unary(b"{}", b"500 Internal Server Error"), post()),
    "the engine hangs up": (hang_up, post()),
    "the engine dies in a stream": (stream_then_die(b"data: 1\n\n"), post(body=STREAMING)),
    "a recipe": (WELL, post("/v1/recipes/answer", QUESTION)),
    "a recipe whose engine fails": (unary(b"{}", b"500 Internal Server Error"), post("/v1/recipes/answer", QUESTION)),
    "a recipe with a wrong input": (WELL, post("/v1/recipes/answer", {"inputs": {"question": 7}})),
}


def there_are() -> list[object]:
    return [one for one in gc.get_objects() if type(one) in HOLD_WHAT_CAME]


@pytest.fixture
def before() -> Iterator[list[object]]:
    """What other tests have left. The collector is off from then on."""
    gc.collect()
    gc.disable()
    yield there_are()
    gc.enable()


async def left(gateway: Stand, before: list[object]) -> Counter[str]:
    """By kind, once all connections of clients are closed."""
    gateway.leave()
    await until(lambda: not gateway.gateway._connections and not gateway.gateway.app.in_flight())
    with contextlib.suppress(TimeoutError):
        await until(lambda: not still_left(gateway, before))
    return still_left(gateway, before)


def still_left(gateway: Stand, before: list[object]) -> Counter[str]:
    """Connections to engines that wait for their next request are no rest."""
    idle = [one for idle in gateway.gateway.app._pool._idle.values() for one in idle]
    known = {id(one) for one in (*before, *idle)}
    return Counter(type(one).__name__ for one in there_are() if id(one) not in known)


@pytest.mark.parametrize("what", list(ASKED))
async def test_nothing_of_a_request_is_left(
    start_engine: StartEngine, open_stand: OpenStand, before: list[object], what: str
) -> None:
    script, asked = ASKED[what]
    gateway = await open_stand(await start_engine(script), settings=GatewaySettings(max_body_bytes=150_000))
    assert (await gateway.ask(asked)).status
    assert await left(gateway, before) == {}


async def test_nothing_is_left_of_a_body_whose_client_leaves(open_stand: OpenStand, before: list[object]) -> None:
    gateway = await open_stand()
    client = await gateway.client()
    client.send(HALF)
    await until(lambda: any(connection._body_bytes for connection in gateway.gateway._connections))  # type: ignore[attr-defined]
    assert await left(gateway, before) == {}


async def test_nothing_is_left_of_a_stream_whose_client_leaves(
    start_engine: StartEngine, open_stand: OpenStand, before: list[object]
) -> None:
    gateway = await open_stand(await start_engine(stream_then_stall(b"data: 1\n\n")))
    client = await gateway.client()
    client.send(post(body=STREAMING))
    await client.head()
    await client.chunk()
    assert await left(gateway, before) == {}
