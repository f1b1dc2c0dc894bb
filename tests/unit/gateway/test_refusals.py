"""What is refused, in which shape, before an engine hears of it."""

from typing import Any

import pytest

from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, OpenStand, get, post
from tests.unit.gateway.scripted_engine import unary

INPUT = {"model": MODEL, "input": "Hi"}


async def test_an_unknown_model_is_a_404_that_names_the_nearest(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    answer = await gateway.ask(post(body={"model": "llama-3-8B"}))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert f"Did you mean '{MODEL}'?" in answer.error["message"]


async def test_a_model_name_of_megabytes_is_refused_with_a_short_message(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    answer = await gateway.ask(post(body={"model": "ab" * 2_000_000}))
    assert answer.status == 404
    assert len(answer.body) < 1000


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"", "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[1]", "invalid_json", None),
        (b"null", "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b'{"model":"\\ud800"}', "invalid_json", None),
        ({}, "missing_required_parameter", "model"),
        ({"model": None}, "missing_required_parameter", "model"),
        ({"model": 3}, "invalid_type", "model"),
        ({"model": [MODEL]}, "invalid_type", "model"),
        ({"model": MODEL, "stream": "yes"}, "invalid_type", "stream"),
        ({"model": MODEL, "stream": 1}, "invalid_type", "stream"),
        ({**INPUT, "previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
        ({**INPUT, "conversation": {"id": "c"}}, "unsupported_parameter", "conversation"),
        ({**INPUT, "background": True}, "unsupported_parameter", "background"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_bad_body_is_a_400_that_never_reaches_an_engine(
    start_engine: StartEngine, open_stand: OpenStand, body: Any, code: str, param: str | None
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    answer = await gateway.ask(post("/v1/responses", body if body is not None else b""))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, code, param)
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["x-request-id"].startswith("req-")
    assert not engine.exchanges
    await gateway.settled()


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "background", "stream"])
async def test_a_stateful_field_set_to_nothing_is_accepted(
    start_engine: StartEngine, open_stand: OpenStand, field: str
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")))
    assert (await gateway.ask(post("/v1/responses", {**INPUT, field: None}))).status == 200


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "invalid_request_error"),
        ({"model": "no"}, 404, "not_found_error"),
        ({"model": MODEL}, 503, "overloaded_error"),
    ],
)
async def test_errors_on_the_messages_route_have_anthropics_shape(
    open_stand: OpenStand, body: Any, status: int, kind: str
) -> None:
    gateway = await open_stand()
    answer = await gateway.ask(post("/v1/messages", body))
    assert answer.status == status
    document = answer.json()
    assert document["type"] == "error"
    assert document["error"]["type"] == kind
    assert set(document["error"]) == {"type", "message"}


PATHS = [
    "/v1%2fchat/completions",
    "/v1/chat%2Fcompletions",
    "/v1/../v1/chat/completions",
    "/v1/./chat/completions",
    "/v1//chat/completions",
    "//v1/chat/completions",
    "/v1/chat/completions/",
    "/V1/chat/completions",
    "/v1/chat/completions;a",
    "/v1/chat/completions#a",
    "/v1/chat/completions%00",
    "/v1/chat/completions%20",
    "/v1/chat/completions\0",
    "\\v1\\chat\\completions",
    "http://127.0.0.1/v1/chat/completions",
    "v1/chat/completions",
    "*",
    "/",
    "/metrics",
    "/-/load",
    "/v1/chat/completions\xff",
    "/?/v1/chat/completions",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_that_is_not_exactly_a_route_reaches_no_engine(
    start_engine: StartEngine, open_stand: OpenStand, path: str
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    answer = await gateway.ask(post("@", {"model": MODEL}).replace(b"@", path.encode("latin-1"), 1))
    assert answer.status in (400, 404)
    assert "error" in answer.json()
    assert not engine.exchanges


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_on_an_inference_route_are_405(open_stand: OpenStand, method: str) -> None:
    gateway = await open_stand()
    answer = await gateway.ask(get("/v1/chat/completions", method=method))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_post_on_a_read_only_route_is_405(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    answer = await gateway.ask(post("/v1/models"))
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/nowhere"])
async def test_head_has_the_length_of_a_body_and_no_body(open_stand: OpenStand, path: str) -> None:
    gateway = await open_stand()
    client = await gateway.client()
    client.send(get(path, method="HEAD") + get("/health"))
    assert int((await client.answer(has_body=False)).headers["content-length"]) > 0
    assert (await client.answer()).json()["status"] == "ok"


async def test_models_are_listed_ready_or_not(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    (model,) = (await gateway.ask(get("/v1/models"))).json()["data"]
    assert (model["id"], model["ready_replicas"]) == (MODEL, 0)
    assert (await gateway.ask(get(f"/v1/models/{MODEL}"))).json()["id"] == MODEL
    assert (await gateway.ask(get("/v1/models/none"))).error["code"] == "model_not_found"


async def test_the_request_id_is_ours_and_the_clients_own_is_kept_beside_it(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    answer = await gateway.ask(post(headers="x-request-id: mine-1\r\n"))
    assert answer.headers["x-client-request-id"] == "mine-1"
    assert answer.headers["x-request-id"].startswith("req-")
    assert f"x-request-id: {answer.headers['x-request-id']}\r\n".encode() in engine.exchanges[0].head


@pytest.mark.parametrize("theirs", ["x" * 129, "caf\xe9", "a\tb"])
async def test_a_request_id_that_is_not_short_plain_text_is_dropped(
    start_engine: StartEngine, open_stand: OpenStand, theirs: str
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")))
    raw = post(headers="x-request-id: @\r\n").replace(b"@", theirs.encode("latin-1"), 1)
    answer = await gateway.ask(raw)
    assert answer.status == 200
    assert "x-client-request-id" not in answer.headers
