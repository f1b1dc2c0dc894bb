"""Where a node's exporter listens, and what it takes for its own."""

import fcntl
import socket
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from deployments.exporter_server import ExporterServer
from deployments.gateway.replica_table import ReplicaInfo
from deployments.node_exporter import engine_of, forget_nodes, listening_host
from engine.internal_token import is_token


def app() -> Starlette:
    return Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))])


async def answers(port: int) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/")).text == "here"
        except httpx.ConnectError:
            return False


async def test_while_its_port_is_taken_it_listens_on_another_and_then_moves(caplog: pytest.LogCaptureFixture) -> None:
    server = ExporterServer(app())
    with socket.create_server(("127.0.0.1", 0)) as other:
        fixed = other.getsockname()[1]
        first = await server.listen("127.0.0.1", fixed)
        assert first != fixed
        assert await answers(first)
        assert await server.listen("127.0.0.1", fixed) == first
        assert len([record for record in caplog.records if f"127.0.0.1:{fixed}" in record.message]) == 1
    assert await server.listen("127.0.0.1", fixed) == fixed
    assert await answers(fixed)
    assert not await answers(first)
    await server.close()


async def test_another_port_takes_effect_while_it_runs() -> None:
    server = ExporterServer(app())
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        ports.append(await server.listen("127.0.0.1", port))
    assert [await answers(port) for port in ports] == [False, True]
    await server.close()


@pytest.mark.parametrize(
    ("asked", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("10.0.0.5", "10.0.0.9"),
        ("gateway.example", "10.0.0.9"),
    ],
)
def test_it_is_reachable_from_where_it_is_asked_to_be(asked: str, host: str) -> None:
    assert listening_host(asked, "10.0.0.9") == host


def test_engines_are_opened_with_the_token_of_the_hour() -> None:
    replica = ReplicaInfo("r-1", "http://127.0.0.1:1", "secret", 8, 4096, kv_cache_tokens=9, tensor_parallel_size=4)
    engine = engine_of("m", replica)
    assert is_token("secret", engine.headers()["x-baryon-internal-token"].encode())
    assert (engine.model, engine.replica, engine.tensor_parallel_size, engine.kv_cache_tokens) == ("m", "r-1", 4, 9)
    assert "secret" not in repr(engine)


def test_only_living_nodes_keep_their_files(tmp_path: Path) -> None:
    for node in ("alive", "gone", "new"):
        (tmp_path / node).mkdir()
        (tmp_path / node / "counter_1.db").touch()
    (tmp_path / "gone" / "1.alive").touch()
    with (tmp_path / "new" / "1.alive").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        forget_nodes(tmp_path, frozenset({"alive"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "new"]
