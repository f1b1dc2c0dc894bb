"""Who comes in: every way to ask for more than a key allows, on the wire."""

import logging
from dataclasses import replace

import orjson
import pytest

from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.api_key import id_of, new_api_key
from deployments.gateway.tenants.keyring import KeyPage, Keyring
from deployments.gateway.tenants.tenant import Tenant
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, OpenStand, get, post
from tests.unit.gateway.keys import keyring_of, new_key, no_keys, page
from tests.unit.gateway.scripted_engine import unary

ACME = Tenant("acme", priority=3)
KEY = new_key()
OTHER_CLUSTERS_KEY = new_key()
ALL_BUT_HEALTH = [
    get("/v1/models"),
    get(f"/v1/models/{MODEL}"),
    get("/nowhere"),
    get("/v1/chat/completions"),
    get("/health/"),
    get("//health"),
    get("/v1/models", method="DELETE"),
    *(post(path) for path in ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/tokenize", "/v1/models")),
]
BAD = {
    "no key": "",
    "an empty one": "authorization: Bearer \r\n",
    "no scheme": f"authorization: {KEY}\r\n",
    "another scheme": f"authorization: Basic {KEY}\r\n",
    "a good one behind another word": f"authorization: Bearer x {KEY}\r\n",
    "a key of another cluster": f"authorization: Bearer {OTHER_CLUSTERS_KEY}\r\n",
    "the beginning of a key": f"authorization: Bearer {KEY[:-1]}\r\n",
    "the id of a key": f"authorization: Bearer {KEY[:24]}\r\n",
    "more than a key": f"authorization: Bearer {KEY}A\r\n",
    "a key in capitals": f"authorization: Bearer {KEY.upper()}\r\n",
    "a good id with another secret": f"authorization: Bearer {KEY[:24]}{OTHER_CLUSTERS_KEY[24:]}\r\n",
    "a key that is not ASCII": f"authorization: Bearer {KEY[:-1]}\xe9\r\n",
    "a NUL in a key's place": f"authorization: Bearer {KEY[:-1]}\\0\r\n",
    "30 KB": f"authorization: Bearer {'a' * 30_000}\r\n",
    "as x-api-key, wrong": f"x-api-key: {OTHER_CLUSTERS_KEY}\r\n",
    "a key as a cookie": f"cookie: authorization={KEY}\r\n",
    "a key as proxy-authorization": f"proxy-authorization: Bearer {KEY}\r\n",
}


@pytest.mark.parametrize("headers", BAD.values(), ids=list(BAD))
async def test_without_a_good_key_there_is_nothing_but_a_401(
    start_engine: StartEngine, open_stand: OpenStand, headers: str
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine, keyring=keyring_of({KEY: ACME}))
    for raw in ALL_BUT_HEALTH:
        head, _, rest = raw.partition(b"\r\n")
        answer = await gateway.ask(head + b"\r\n" + headers.encode("latin-1") + rest)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), raw
        assert answer.error["type"] in ("invalid_request_error", "authentication_error")
        assert KEY not in str(answer)
        assert MODEL not in str(answer)
    assert not engine.exchanges


@pytest.mark.parametrize(
    "header",
    [f"authorization: Bearer {KEY}", f"AUTHORIZATION: bearer  {KEY} ", f"x-api-key: {KEY}"],
    ids=["openai", "in other letters", "anthropic"],
)
async def test_a_good_key_is_taken_from_openais_and_anthropics_clients(
    start_engine: StartEngine, open_stand: OpenStand, header: str
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine, keyring=keyring_of({KEY: ACME}))
    assert (await gateway.ask(post(headers=header + "\r\n"))).status == 200
    (exchange,) = engine.exchanges
    assert KEY.encode() not in exchange.head + exchange.body, "it goes no further"


async def test_errors_have_the_form_of_the_api_that_is_asked(open_stand: OpenStand) -> None:
    gateway = await open_stand(keyring=keyring_of({KEY: ACME}))
    openai = await gateway.ask(post())
    assert openai.error["code"] == "missing_api_key"
    assert (await gateway.ask(post(headers="x-api-key: no\r\n"))).error["code"] == "invalid_api_key"
    anthropic = (await gateway.ask(post("/v1/messages"))).json()
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")


@pytest.mark.parametrize(
    "headers",
    [
        f"authorization: Bearer {KEY}\r\nauthorization: Bearer {KEY}\r\n",
        f"x-api-key: {KEY}\r\nx-api-key: {KEY}\r\n",
        f"authorization: Bearer {KEY}\r\nx-api-key: {OTHER_CLUSTERS_KEY}\r\n",
        f"authorization: Bearer {OTHER_CLUSTERS_KEY}\r\nx-api-key: {KEY}\r\n",
    ],
    ids=["bearer twice", "x-api-key twice", "the good one first", "the good one last"],
)
async def test_two_credentials_are_not_chosen_between(open_stand: OpenStand, headers: str) -> None:
    gateway = await open_stand(keyring=keyring_of({KEY: ACME}))
    assert (await gateway.ask(post(headers=headers))).status == 400


async def test_the_same_key_in_both_headers_is_one_key(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")), keyring=keyring_of({KEY: ACME}))
    both = f"authorization: Bearer {KEY}\r\nx-api-key: {KEY}\r\n"
    assert (await gateway.ask(post(headers=both))).status == 200


async def test_a_header_of_a_megabyte_is_cut_off(open_stand: OpenStand) -> None:
    gateway = await open_stand(keyring=keyring_of({KEY: ACME}))
    answer = await gateway.ask(post(headers=f"authorization: Bearer {'a' * 1_000_000}\r\n"))
    assert (answer.status, answer.headers["connection"]) == (431, "close")


async def test_health_needs_no_key_and_names_no_model(open_stand: OpenStand) -> None:
    gateway = await open_stand(keyring=keyring_of({KEY: ACME}))
    for path in ("/health", "/-/healthz"):
        assert (await gateway.ask(get(path))).json() == {"status": "ok"}


async def test_a_body_of_somebody_without_a_key_is_not_kept(open_stand: OpenStand) -> None:
    gateway = await open_stand(keyring=keyring_of({KEY: ACME}))
    client = await gateway.client()
    size = 4 << 20
    client.send(b"POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n" % size)
    client.send(b"a" * (size - 1))
    await client.writer.drain()
    held = [len(connection._body) for connection in gateway.gateway._connections]
    assert held == [0]
    client.send(b"a" + get("/health"))
    assert (await client.answer()).status == 401
    assert (await client.answer()).status == 200, "the connection is still good"


@pytest.mark.parametrize("coding", ["length", "chunks"])
async def test_a_body_that_is_let_go_is_bounded_all_the_same(open_stand: OpenStand, coding: str) -> None:
    gateway = await open_stand(keyring=keyring_of({KEY: ACME}), settings=GatewaySettings(max_body_bytes=1_000))
    if coding == "length":
        answer = await gateway.ask(post(body=b"a" * 1_001))
    else:
        chunk = b"190\r\n" + b"a" * 400 + b"\r\n"
        answer = await gateway.ask(
            b"POST /v1/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 3
        )
    assert answer.status == 413


async def test_a_key_that_ends_while_the_body_comes_is_refused(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine, keyring = await start_engine(unary(b"{}")), keyring_of({KEY: ACME})
    gateway = await open_stand(engine, keyring=keyring)
    client = await gateway.client()
    raw = post(headers=f"x-api-key: {KEY}\r\n")
    client.send(raw[:-5])
    await gateway.ask(get("/health"))
    key_id = id_of(KEY.encode())
    assert key_id is not None
    keyring.adopt(page({}, version="e.2", begins_anew=False, revoked=(key_id,)))
    client.send(raw[-5:])
    assert (await client.answer()).status == 401
    assert not engine.exchanges


async def test_a_key_that_is_made_while_the_body_comes_does_not_bring_it_back(open_stand: OpenStand) -> None:
    keyring = keyring_of({new_key(): ACME})
    gateway = await open_stand(keyring=keyring)
    client = await gateway.client()
    raw = post(headers=f"x-api-key: {KEY}\r\n")
    client.send(raw[:-5])
    await gateway.ask(get("/health"))
    keyring.adopt(page({KEY: ACME}, version="e.2", begins_anew=False))
    client.send(raw[-5:])
    assert (await client.answer()).status == 401


async def test_a_gateway_that_was_never_told_lets_nobody_in(open_stand: OpenStand) -> None:
    keyring = Keyring()
    gateway = await open_stand(keyring=keyring)
    answer = await gateway.ask(post(headers=f"x-api-key: {KEY}\r\n"))
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "keys_unknown", "1")
    keyring.adopt(page({KEY: ACME}, is_last=False))
    assert (await gateway.ask(get("/v1/models", f"x-api-key: {KEY}\r\n"))).status == 503, "a part is not all"
    keyring.adopt(page({}, version="e.2", begins_anew=False))
    assert (await gateway.ask(get("/v1/models", f"x-api-key: {KEY}\r\n"))).status == 200


async def test_keys_are_good_without_state_for_as_long_as_the_operator_says(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    """One may have been revoked since."""
    now_s = 1_000.0
    keyring = Keyring(lambda: now_s)
    keyring.adopt(page({KEY: ACME}))
    gateway = await open_stand(await start_engine(unary(b"{}")), keyring=keyring)
    asked, now_s = post(headers=f"x-api-key: {KEY}\r\n"), now_s + 86_400
    assert (await gateway.ask(asked)).status == 200, "until state is back, unless said otherwise"
    gateway.gateway.settings = replace(gateway.gateway.settings, keys_good_for_s=300)
    answer = await gateway.ask(asked)
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "keys_stale", "5")
    assert "300 s" in answer.error["message"]
    assert (await gateway.ask(get("/health"))).status == 200
    keyring.adopt(page({}, version="e.2", begins_anew=False, is_last=False))
    assert (await gateway.ask(asked)).status == 503, "a part is not all"
    keyring.adopt(page({}, version="e.3", begins_anew=False))
    assert (await gateway.ask(asked)).status == 200, "that nothing changed is a word, too"
    now_s += 299
    assert (await gateway.ask(asked)).status == 200


async def test_where_no_key_was_ever_made_none_can_be_too_old(open_stand: OpenStand) -> None:
    now_s = 0.0
    keyring = Keyring(lambda: now_s)
    keyring.adopt(KeyPage("e.0", begins_anew=True, is_last=True, keys_exist=False, pepper=b"", salt_secret=b""))
    gateway = await open_stand(keyring=keyring, settings=GatewaySettings(keys_good_for_s=60))
    now_s = 1e6
    assert (await gateway.ask(get("/v1/models"))).status == 200


async def test_without_keys_anyone_may_call_unless_the_operator_says_always(open_stand: OpenStand) -> None:
    asked = get("/v1/models", "authorization: Bearer none\r\n")
    gateway = await open_stand(keyring=no_keys())
    assert (await gateway.ask(asked)).status == 200
    gateway.gateway.settings = replace(gateway.gateway.settings, require_keys="always")
    answer = await gateway.ask(asked)
    assert answer.status == 401
    assert "baryon keys create" in answer.error["message"]


async def test_on_an_address_that_others_reach_nobody_may_call_without_keys(open_stand: OpenStand) -> None:
    gateway = await open_stand(keyring=no_keys())
    gateway.gateway._is_local = False
    assert (await gateway.ask(get("/v1/models"))).status == 401


async def test_when_the_last_key_is_revoked_the_door_stays_closed(open_stand: OpenStand) -> None:
    keyring = keyring_of({KEY: ACME})
    gateway = await open_stand(keyring=keyring)
    key_id = id_of(KEY.encode())
    assert key_id is not None
    keyring.adopt(page({}, version="e.2", begins_anew=False, revoked=(key_id,)))
    assert (await gateway.ask(get("/v1/models"))).status == 401


async def test_a_tenant_sees_and_asks_for_its_own_models_only(start_engine: StartEngine, open_stand: OpenStand) -> None:
    theirs, none = new_key(), new_key()
    keys = {theirs: Tenant("one", models=frozenset({MODEL})), none: Tenant("two", models=frozenset({"b"}))}
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine, keyring=keyring_of(keys))
    (card,) = (await gateway.ask(get("/v1/models", f"x-api-key: {theirs}\r\n"))).json()["data"]
    assert card["id"] == MODEL
    assert (await gateway.ask(get("/v1/models", f"x-api-key: {none}\r\n"))).json()["data"] == []
    refusals = []
    for name in (MODEL, "no-such-model"):
        body = {"model": name, "messages": []}
        asked = await gateway.ask(post(body=body, headers=f"x-api-key: {none}\r\n"))
        read = await gateway.ask(get(f"/v1/models/{name}", f"x-api-key: {none}\r\n"))
        assert (asked.status, asked.error["code"]) == (read.status, read.error["code"]) == (404, "model_not_found")
        refusals.append(asked.error["message"].replace(name, "NAME"))
    assert len(set(refusals)) == 1, "whether it exists is not to be seen"
    assert MODEL not in refusals[1]
    assert not engine.exchanges


async def test_tenants_with_one_prompt_get_salts_of_their_own_and_choose_none(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    one, same, other = new_key(), new_key(), new_key()
    keys = {one: Tenant("one"), same: Tenant("one"), other: Tenant("other")}
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine, keyring=keyring_of(keys))
    for key in (one, same, other):
        assert (await gateway.ask(post(headers=f"x-api-key: {key}\r\n"))).status == 200
    salts = [orjson.loads(exchange.body)["cache_salt"] for exchange in engine.exchanges]
    assert salts[0] == salts[1] != salts[2]
    chosen = {"model": MODEL, "messages": [], "cache_salt": salts[0]}
    assert (await gateway.ask(post(body=chosen, headers=f"x-api-key: {other}\r\n"))).status == 400
    assert len(engine.exchanges) == 3


async def test_a_key_is_in_no_log_and_no_answer(
    start_engine: StartEngine, open_stand: OpenStand, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    unknown = new_api_key()[1]
    gateway = await open_stand(await start_engine(unary(b"{}")), keyring=keyring_of({KEY: ACME}))
    answers = []
    for key in (KEY, unknown):
        for raw in (post(headers=f"x-api-key: {key}\r\n"), post(body=b"[", headers=f"authorization: Bearer {key}\r\n")):
            answers.append(await gateway.ask(raw))
    assert [answer.status for answer in answers] == [200, 400, 401, 401]
    told = (
        caplog.text
        + "".join(map(str, answers))
        + repr(keyring_of({KEY: ACME}).__dict__.keys())
        + repr(page({KEY: ACME}))
    )
    for key in (KEY, unknown):
        assert key not in told
        assert key[24:] not in told


async def test_each_request_on_a_connection_shows_its_own_key(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")), keyring=keyring_of({KEY: ACME}))
    client = await gateway.client()
    shown = f"x-api-key: {KEY}\r\n"
    client.send(post(headers=shown) + post() + get("/v1/models", shown) + get("/v1/models"))
    assert [(await client.answer()).status for _ in range(4)] == [200, 401, 200, 401]


async def test_a_web_page_that_may_call_can_read_that_it_needs_a_key(open_stand: OpenStand) -> None:
    settings = GatewaySettings(cors_origins=["https://good.example"])
    gateway = await open_stand(keyring=keyring_of({KEY: ACME}), settings=settings)
    page_header = "origin: https://good.example\r\n"
    answer = await gateway.ask(post(body=b"a" * 100_000, headers=page_header))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, "https://good.example")
    asks_first = page_header + "access-control-request-method: POST\r\naccess-control-request-headers: x-api-key\r\n"
    allowed = await gateway.ask(get("/v1/models", asks_first, method="OPTIONS"))
    assert (allowed.status, allowed.headers["access-control-allow-headers"]) == (200, "x-api-key")
