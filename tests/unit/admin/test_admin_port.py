"""What the admin port answers: over all gateways, also when one of them or state is silent."""

import asyncio
import socket
import time

import httpx
import orjson
import pytest

from deployments.admin import admin_port
from deployments.admin.admin_port import AdminAddress, AdminPort
from deployments.admin.peers import REQUESTS_ROUTE
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import Tenant
from engine.guard import TOKEN_HEADER
from engine.internal_token import token_now
from tests.unit.admin.harness import ScriptedState, admin_stands
from tests.unit.admin.test_timeline import decision
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, post, stand, until
from tests.unit.gateway.keys import keyring_of, new_key
from tests.unit.gateway.scripted_engine import unary

ANSWER = unary(orjson.dumps({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}))
CLIENTS_OWN = "x-request-id: my own/id?%41\r\n"


async def test_a_request_is_found_from_every_gateway_by_either_id(start_engine: StartEngine) -> None:
    engine = await start_engine(ANSWER)
    async with admin_stands([[engine], [engine]], ScriptedState()) as (one, other):
        answer = await one.gateway.ask(post(headers=CLIENTS_OWN))
        await one.gateway.settled()
        request_id = answer.headers["x-request-id"]
        for asked in (one, other):
            for identity in (request_id, "my%20own%2Fid%3F%2541"):
                found = (await asked.get(f"/admin/requests/{identity}")).json()
                assert found["request"]["request_id"] == request_id
                assert found["request"]["gateway_id"] == one.admin.view.gateway_id
                assert found["sentence"].startswith("It took ")
        unknown = await other.get("/admin/requests/req-unknown")
        assert (unknown.status, unknown.error["code"]) == (404, "request_not_found")


async def test_text_is_told_of_one_request_from_every_gateway_and_only_of_who_has_it_shown(
    start_engine: StartEngine,
) -> None:
    shown, hidden = new_key(), new_key()
    keyring = keyring_of({shown: Tenant("shown", show_text="on"), hidden: Tenant("hidden")})
    engine = await start_engine(unary(orjson.dumps({"choices": [{"message": {"content": "a secret answer"}}]})))
    body = {"model": MODEL, "messages": [{"role": "user", "content": "a secret question"}]}
    async with admin_stands([[engine], [engine]], ScriptedState(), keyring) as (one, other):
        ids = {}
        for key in (shown, hidden):
            answer = await one.gateway.ask(post(body=body, headers=f"authorization: Bearer {key}\r\n"))
            ids[key] = answer.headers["x-request-id"]
        await one.gateway.settled()
        for asked in (one, other):
            told = (await asked.get(f"/admin/requests/{ids[shown]}")).json()
            assert told["text"] == {
                "prompt": [{"of": "user", "text": "a secret question"}],
                "answer": [{"of": "assistant", "text": "a secret answer"}],
                "cut": [],
            }
            assert "secret" not in str(told["request"])
            told = await asked.get(f"/admin/requests/{ids[hidden]}")
            assert told.json()["text"] is None
            lists = [await asked.get(path) for path in ("/admin/requests", "/admin/overview")]
            assert not [answer for answer in (told, *lists) if b"secret" in answer.body]
            assert ids[shown].encode() in lists[0].body
        (peer,) = (known for known in other.admin.peers.known if known.gateway_id == one.admin.view.gateway_id)
        async with httpx.AsyncClient(base_url=peer.url) as client:
            token = {TOKEN_HEADER.decode(): token_now(peer.secret).decode()}
            listed = await client.get(REQUESTS_ROUTE, headers=token)
            assert ids[shown] in listed.text
            assert "secret" not in listed.text
            assert (await client.get(f"{REQUESTS_ROUTE}/{ids[shown]}")).status_code == 404, "without the token"


async def test_what_cannot_be_told_is_an_error_and_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_port, "overview", lambda *_, **__: {"odd": object()})
    async with admin_stands([[]], ScriptedState()) as (one,):
        async with asyncio.timeout(5):
            answer = await one.get("/admin/overview")
        assert (answer.status, answer.error["code"]) == (500, "internal_error")


async def test_the_latest_requests_are_those_of_all_gateways_newest_first(start_engine: StartEngine) -> None:
    engine = await start_engine(ANSWER)
    async with admin_stands([[engine], [engine]], ScriptedState()) as (one, other):
        asked = []
        for at in range(6):
            answer = await (one, other)[at % 2].gateway.ask(post())
            asked.append(answer.headers["x-request-id"])
        await one.gateway.ask(post(body={"model": "nope", "messages": []}))
        for stand in (one, other):
            await stand.gateway.settled()
        listed = (await other.get(f"/admin/requests?model={MODEL}&limit=4")).json()
        assert [row["request_id"] for row in listed["requests"]] == asked[:1:-1]
        refused = (await other.get("/admin/requests?outcome=refused")).json()["requests"]
        assert [row["error_code"] for row in refused] == ["model_not_found"]


async def test_a_gateway_that_does_not_answer_is_said_to_be_silent(start_engine: StartEngine) -> None:
    engine = await start_engine(ANSWER)
    async with admin_stands([[engine], [engine]], ScriptedState()) as (one, other):
        told = other.admin.peers.known
        await other.gateway.ask(post())
        await other.admin.close()
        one.admin.peers.known = told
        assert (await one.get("/admin/requests")).json()["silent_gateways"] == 1
        gateways = (await one.get("/admin/overview")).json()["gateways"]
        assert [gateway["answers"] for gateway in gateways] == [True, False]
        unknown = await one.get("/admin/requests/req-unknown")
        assert "1 gateways did not answer" in unknown.error["message"]


async def test_the_overview_adds_up_what_gateways_and_engines_say(start_engine: StartEngine) -> None:
    engine = await start_engine(ANSWER)
    async with admin_stands([[engine], [engine]], ScriptedState()) as (one, other):
        for stand in (one, one, other):
            await stand.gateway.ask(post())
            await stand.gateway.settled()
        told = (await other.get("/admin/overview")).json()
        model = told["models"][0]
        assert (model["target"], model["ready"], model["starting"]) == (2, 1, 1)
        assert round(model["output_tokens_per_s"] * told["window_s"]) == 9
        assert round(told["totals"]["requests_per_s"] * told["window_s"]) == 3
        assert [replica["replica_id"] for replica in told["replicas"]] == ["r0"]
        assert told["replicas"][0]["engine_answers"] is False, "this engine has no metrics"
        assert told["state"]["is_away"] is False
        assert told["is_key_needed"] is False


async def test_no_answer_has_a_secret(start_engine: StartEngine) -> None:
    engine = await start_engine(ANSWER)
    key = new_key()
    async with admin_stands([[engine], [engine]], ScriptedState(), keyring_of({key: Tenant("acme")})) as (one, _):
        await one.gateway.ask(post(headers=f"authorization: Bearer {key}\r\n"))
        shown = b""
        for path in ("/admin/overview", "/admin/requests", f"/admin/decisions?model={MODEL}"):
            shown += (await one.get(path)).body
        for secret in (key, "internal-secret-token", *(peer.secret for peer in one.admin.peers.known)):
            assert secret.encode() not in shown


async def test_a_key_is_needed_to_chat_where_it_is_needed_at_the_endpoint(start_engine: StartEngine) -> None:
    engine = await start_engine(ANSWER)
    key = new_key()
    async with admin_stands([[engine]], ScriptedState(), keyring_of({key: Tenant("acme")})) as (one,):
        assert (await one.get("/admin/overview")).json()["is_key_needed"] is True
        refused = await one.ask(post())
        assert refused.status == 421, "the host of an admin request is this machine"
        local = post().replace(b"host: gateway", b"host: localhost")
        assert (await one.ask(local)).status == 401
        allowed = local.replace(b"content-length", b"authorization: Bearer " + key.encode() + b"\r\ncontent-length")
        answer = await one.ask(allowed)
        assert answer.status == 200
        await one.gateway.settled()
        assert (await one.get(f"/admin/requests/{answer.headers['x-request-id']}")).json()["request"][
            "tenant"
        ] == "acme"


async def test_while_state_is_away_the_rest_goes_on(start_engine: StartEngine) -> None:
    state = ScriptedState([decision(time.time(), 2, was=1)])
    async with admin_stands([[await start_engine(ANSWER)]], state) as (one,):
        known = (await one.get(f"/admin/decisions?model={MODEL}")).json()
        assert known["changes"][0]["was"] == 1
        state.is_away = True
        away = await one.get(f"/admin/decisions?model={MODEL}")
        assert (away.status, away.error["code"], away.headers["retry-after"]) == (503, "state_is_away", "2")
        one.admin.on_told(None)
        overview = (await one.get("/admin/overview")).json()
        assert overview["state"]["is_away"] is True
        assert overview["models"][0]["name"] == MODEL


async def test_a_gateway_that_ends_says_so(start_engine: StartEngine) -> None:
    state = ScriptedState()
    async with admin_stands([[await start_engine(ANSWER)]], state) as (one,):
        assert len(state.registry.gateways(time.monotonic())) == 1
        await one.admin.close()
        await until(lambda: not state.registry.gateways(time.monotonic()))


async def test_a_gateway_whose_admin_port_is_taken_still_answers_for_itself(start_engine: StartEngine) -> None:
    state = ScriptedState()
    engine = await start_engine(ANSWER)
    async with admin_stands([[engine]], state) as (one,), stand([engine], 8, GatewaySettings()) as neighbour:
        gateway = neighbour.gateway
        admin = AdminPort(gateway.app, neighbour.replicas, lambda: gateway.settings, state, "n" * 56)
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
            await admin.start(AdminAddress("127.0.0.1", taken.getsockname()[1], "127.0.0.1"))
        await until(lambda: len(one.admin.peers.known) == 2)
        answers = (await one.get("/admin/overview")).json()["gateways"]
        assert [answer["answers"] for answer in answers] == [True, True]
        await admin.close()


async def test_a_recipe_is_tried_by_the_public_routes_and_its_engine_calls_found_by_its_id(
    start_engine: StartEngine,
) -> None:
    chat = {"choices": [{"message": {"content": "Why not."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
    engine = await start_engine(unary(orjson.dumps(chat)))
    async with admin_stands([[engine]], ScriptedState()) as (one,):
        listed = (await one.get("/v1/recipes")).json()
        assert "answer" in [card["name"] for card in listed["data"]]
        asked = post("/v1/recipes/answer", {"inputs": {"question": "Why?"}}, "content-type: application/json\r\n")
        told = (await one.ask(asked.replace(b"host: gateway", b"host: 127.0.0.1:8001"))).json()
        assert told["output"] == "Why not."
        await one.gateway.settled()
        found = (await one.get(f"/admin/requests/{told['id']}")).json()["request"]
        assert (found["recipe"], found["request_id"]) == ("answer", told["calls"][0])
