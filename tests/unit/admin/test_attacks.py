"""Attacks on the admin port: other web pages, names that lead here, paths that are none, and its private neighbour."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from deployments.admin.guard import is_of_this_machine, refusal
from deployments.admin.question import identity
from engine.internal_token import token_now
from tests.unit.admin.harness import AdminStand, ScriptedState, admin_stands
from tests.unit.gateway.harness import MODEL

ADMIN_ROUTES = ("/", "/main.js", "/admin/overview", "/admin/requests", f"/admin/decisions?model={MODEL}")


@pytest.fixture
async def stand() -> AsyncIterator[AdminStand]:
    async with admin_stands([[]], ScriptedState()) as (opened,):
        yield opened


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8001",
        "10.0.0.7:8001",
        "localhost.evil.example",
        "0.0.0.0:8001",
        "[::]:8001",
        "127.1@evil.example",
    ],
)
async def test_a_name_that_only_leads_here_is_refused(stand: AdminStand, host: str) -> None:
    for path in ADMIN_ROUTES:
        answer = await stand.get(path, host=host)
        assert answer.status in (400, 421), "400 where it is no host at all"
        assert b"<" not in answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:8001", "127.9.9.9", "[::1]:8001"])
async def test_a_forwarded_port_is_taken(stand: AdminStand, host: str) -> None:
    for path in ADMIN_ROUTES:
        assert (await stand.get(path, host=host)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        "origin: http://evil.example\r\n",
        "origin: https://127.0.0.1:8001\r\n",
        "origin: http://127.0.0.1:3000\r\n",
        "origin: http://localhost:8001\r\n",
        "origin: null\r\n",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
        "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: iframe\r\n",
    ],
)
async def test_another_page_gets_nothing(stand: AdminStand, headers: str) -> None:
    for path in (*ADMIN_ROUTES, "/v1/models"):
        assert (await stand.get(path, headers)).status == 403
    body = b'{"model":"m","messages":[]}'
    chat = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8001\r\ncontent-type: text/plain\r\n{headers}"
    assert (await stand.ask(f"{chat}content-length: {len(body)}\r\n\r\n".encode() + body)).status == 403
    preflight = f"OPTIONS /admin/overview HTTP/1.1\r\nhost: 127.0.0.1:8001\r\n{headers}\r\n"
    assert "access-control-allow-origin" not in (await stand.ask(preflight.encode())).headers


async def test_its_own_page_and_a_link_to_it_are_let_in(stand: AdminStand) -> None:
    own = "origin: http://127.0.0.1:8001\r\nsec-fetch-site: same-origin\r\n"
    assert (await stand.get("/admin/overview", own)).status == 200
    link = "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n"
    assert (await stand.get("/", link)).status == 200
    assert (await stand.get("/admin/overview", link)).status == 403, "the data is no page"


@pytest.mark.parametrize(
    "path",
    [
        *("//", "/.", "/..", "/../pyproject.toml", "/%2e%2e/app.py", "/./main.js", "//main.js", "/MAIN.JS"),
        *(
            "/main.js/",
            "/main.js%00",
            "/index.html",
            "/app.py",
            "/admin",
            "/admin/",
            "/admin/overview/",
            "/admin//overview",
        ),
        *("/admin/Overview", "/%61dmin/overview", "/-/now", "/-/requests", "/health", "/metrics", "/v1/completions"),
        *("/v1/chat/completions/", "/v1/models/x", "/v1/responses", "http://127.0.0.1/admin/overview"),
    ],
)
async def test_what_is_not_listed_does_not_exist(stand: AdminStand, path: str) -> None:
    assert (await stand.get(path)).status == 404


@pytest.mark.parametrize(
    "odd", ["%2e%2e%2fx", "..", "%00", "a%0d%0ax", "%F0%9F%98%80", "%", "a/b", "x" * 700, "'%22%3Cscript%3E", "{}"]
)
async def test_an_odd_id_is_only_not_found(stand: AdminStand, odd: str) -> None:
    answer = await stand.get(f"/admin/requests/{odd}")
    assert answer.status == 404
    assert b"script" not in answer.body
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=x",
        "limit=٣",
        "limt=3",
        "limit=1&limit=2",
        "model=" + "m" * 201,
        "slow=yes",
        "%ff=1",
        "a",
        "=" * 9,
    ],
)
async def test_a_question_that_is_none_is_refused_and_not_taken_for_all(stand: AdminStand, query: str) -> None:
    raw = f"GET /admin/requests?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    assert (await stand.ask(raw)).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_nothing_but_reading_is_allowed(stand: AdminStand, method: str) -> None:
    for path in ADMIN_ROUTES:
        answer = await stand.ask(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n".encode())
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_head_has_no_body(stand: AdminStand) -> None:
    for path in ADMIN_ROUTES:
        answer = await stand.ask(f"HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), has_body=False)
        assert (answer.status, answer.body) == (200, b"")


async def test_a_body_is_not_kept(stand: AdminStand) -> None:
    raw = b"GET /admin/overview HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello"
    assert (await stand.ask(raw)).status == 400
    large = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n"
    assert (await stand.ask(large)).status == 413


async def test_the_page_may_load_nothing_from_elsewhere_and_be_in_no_frame(stand: AdminStand) -> None:
    for path in ADMIN_ROUTES:
        headers = (await stand.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-frame-options"] == "DENY"
    assert b"<script>" not in (await stand.get("/")).body


async def test_the_private_port_opens_for_the_internal_token_alone(stand: AdminStand) -> None:
    (me,) = stand.admin.peers.known
    async with httpx.AsyncClient(base_url=me.url) as client:
        for path in ("/-/now", "/-/requests", "/-/requests/x", "/admin/overview", "/"):
            for given in (
                {},
                {"x-baryon-internal-token": me.secret},
                {"x-baryon-internal-token": token_now("other").decode()},
            ):
                assert (await client.get(path, headers=given)).status_code == 404
        good = {"x-baryon-internal-token": token_now(me.secret).decode()}
        assert (await client.get("/-/now", headers=good)).json()["gateway_id"] == me.gateway_id
        assert (await client.get("/admin/overview", headers=good)).status_code == 404
        assert (await client.post("/-/now", headers=good)).status_code == 404
        assert (await client.request("GET", "/-/now", headers=good, content=b"x")).status_code == 404


async def test_a_silent_connection_is_closed_as_at_the_main_port(stand: AdminStand) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stand.admin.bound_port)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 200)
    assert b"431" in await reader.readline()
    writer.close()


def test_hosts_of_this_machine() -> None:
    assert all(map(is_of_this_machine, (b"localhost", b"127.0.0.1:1", b"[::1]", b"[::1]:65535")))
    assert not any(
        map(
            is_of_this_machine,
            (b"", b"a", b"127.0.0.1:123456", b"[::1", b"::1", b"1.1.1.1", b"localhost:", b"127.0.0.1 "),
        )
    )


def test_a_request_without_any_hint_of_a_browser_is_let_in() -> None:
    assert refusal({b"host": b"127.0.0.1"}, is_page=False) is None
    assert refusal({}, is_page=True) is not None


def test_ids_are_read_once_and_only_once() -> None:
    assert identity(b"req-1") == "req-1"
    assert identity(b"a%2541") == "a%41"
    assert all(identity(odd) is None for odd in (b"", b"a/b", b"%0a", b"\xff", b"x" * 300, b"%C3%A9"))
