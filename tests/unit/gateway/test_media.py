"""Media from an allowed host are fetched from where that host is, if that is a public place, and from nowhere else."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import orjson
import pytest

from deployments.gateway import media
from deployments.gateway.errors import GatewayError
from deployments.gateway.media import MediaFetcher
from deployments.gateway.public_address import is_public
from deployments.gateway.request_reader import RequestReader
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.test_certificate import write_pair

HOST = "images.example.com"
URL = f"https://{HOST}/a.png?x=1"
PUBLIC = "93.184.215.14"
PNG = b"\x89PNG\r\n\x1a\n"
IMAGE = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 8\r\n\r\n" + PNG

NOT_PUBLIC = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "2001:0:a9fe:a9fe::",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2130706433",
    "nonsense",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_known_as_such(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700:4700::1111"])
def test_a_public_one_too(address: str) -> None:
    assert is_public(address)


class MediaServer(httpx.AsyncHTTPTransport):
    """Answers on this machine for whatever address is connected to, with a certificate of `name`."""

    def __init__(self, folder: Path, name: str) -> None:
        write_pair(folder, name)
        super().__init__(verify=ssl.create_default_context(cafile=folder / "cert.pem"), trust_env=False)
        self._folder = folder
        self.answer: Callable[[asyncio.StreamWriter], Awaitable[None]] = self.image
        self.addresses: list[str] = []
        self.heads: list[bytes] = []

    async def image(self, writer: asyncio.StreamWriter) -> None:
        writer.write(IMAGE)

    async def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "cert.pem", self._folder / "key.pem")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

    async def stop(self) -> None:
        self._server.close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.addresses.append(request.url.host)
        port = self._server.sockets[0].getsockname()[1]
        request.url = request.url.copy_with(host="127.0.0.1", port=port)
        return await super().handle_async_request(request)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            await self.answer(writer)
            await writer.drain()
        except ConnectionError:
            pass
        writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MediaServer]:
    server = MediaServer(tmp_path, HOST)
    await server.start()
    yield server
    await server.stop()


def leads_to(*addresses: str) -> Callable[[str], Awaitable[list[str]]]:
    """A resolver; asked again, it says something else each time."""
    left = list(addresses)

    async def resolve(host: str) -> list[str]:
        return [left.pop(0)] if len(addresses) > 1 else list(addresses)

    return resolve


async def asked(server: MediaServer, *addresses: str, url: str = URL, times: int = 1) -> list[str]:
    """The URLs in what the engine gets."""
    reader = RequestReader(
        lambda: GatewaySettings(media_hosts=[HOST]), MediaFetcher(leads_to(*addresses or (PUBLIC,)), server)
    )
    part = {"type": "image_url", "image_url": {"url": url}}
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": [part] * times}]})
    request = await reader.read(b"/v1/chat/completions", body, None)
    return [part["image_url"]["url"] for part in orjson.loads(request.body)["messages"][0]["content"]]


async def refusal(server: MediaServer, *addresses: str) -> str:
    with pytest.raises(GatewayError) as caught:
        await asked(server, *addresses)
    assert (caught.value.status, caught.value.code) == (400, "media_unavailable")
    assert "127.0.0.1" not in caught.value.message
    return caught.value.message


async def test_an_engine_gets_the_content_and_no_url(server: MediaServer) -> None:
    assert await asked(server, times=2) == [f"data:image/png;base64,{b64encode(PNG).decode()}"] * 2
    assert server.addresses == [PUBLIC], "fetched once"
    assert server.heads[0].startswith(b"GET /a.png?x=1 HTTP/1.1\r\n")
    assert b"\r\nhost: images.example.com\r\n" in server.heads[0].lower()


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_a_name_that_leads_inside_is_never_connected_to(server: MediaServer, address: str) -> None:
    for addresses in ([address], [PUBLIC, address]):
        fetcher = MediaFetcher(lambda host, a=addresses: asyncio.sleep(0, a), server)  # type: ignore[misc]
        reader = RequestReader(lambda: GatewaySettings(media_hosts=[HOST]), fetcher)
        body = orjson.dumps({"model": "m", "messages": [{"content": [{"image_url": {"url": URL}}]}]})
        with pytest.raises(GatewayError, match="not a public one"):
            await reader.read(b"/v1/chat/completions", body, None)
    assert not server.addresses


async def test_a_name_that_changes_its_mind_is_held_to_its_first_answer(server: MediaServer) -> None:
    assert await asked(server, PUBLIC, "169.254.169.254")
    assert server.addresses == [PUBLIC]


async def test_a_name_that_leads_nowhere(server: MediaServer) -> None:
    async def nowhere(host: str) -> list[str]:
        raise OSError("no such name")

    reader = RequestReader(lambda: GatewaySettings(media_hosts=[HOST]), MediaFetcher(nowhere, server))
    body = orjson.dumps({"model": "m", "messages": [{"content": [{"image_url": URL}]}]})
    with pytest.raises(GatewayError, match="no address"):
        await reader.read(b"/v1/chat/completions", body, None)


@pytest.mark.parametrize("status", [b"301", b"302", b"307", b"404", b"500"])
async def test_a_redirect_is_not_followed(server: MediaServer, status: bytes) -> None:
    async def elsewhere(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + status + b" X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n")

    server.answer = elsewhere
    assert f"answered {status.decode()}" in await refusal(server)
    assert len(server.heads) == 1


@pytest.mark.parametrize(
    "headers",
    [
        b"content-type: text/html",
        b"content-type: image/svg+xml,x",
        b"content-type: application/octet-stream",
        b"x: y",
        b"content-type: image/png\r\ncontent-encoding: gzip",
    ],
)
async def test_what_is_no_medium_is_not_taken(server: MediaServer, headers: bytes) -> None:
    async def page(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\ncontent-length: 2\r\n\r\nhi")

    server.answer = page
    assert "not an image" in await refusal(server)


async def test_what_is_too_large_is_not_read_to_its_end(server: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "LARGEST_BYTES", 1 << 20)

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    server.answer = endless
    assert "larger than 1 MiB together" in await refusal(server)


async def test_all_media_of_a_request_together_are_bounded(
    server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "LARGEST_BYTES", 15)
    reader = RequestReader(lambda: GatewaySettings(media_hosts=[HOST]), MediaFetcher(leads_to(PUBLIC), server))
    body = orjson.dumps({"model": "m", "messages": [{"content": [{"image_url": URL}, {"image_url": URL + "2"}]}]})
    with pytest.raises(GatewayError, match="larger"):
        await reader.read(b"/v1/chat/completions", body, None)


async def test_what_is_too_slow_is_given_up(server: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "LIMIT_S", 0.3)
    left = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(IMAGE[:-1])
        await left.wait()

    server.answer = drip
    assert "did not come within 0.3 s" in await refusal(server)
    left.set()


async def test_whoever_answers_there_has_to_be_the_host(tmp_path: Path) -> None:
    impostor = MediaServer(tmp_path, "evil.example.com")
    await impostor.start()
    assert "its certificate" in await refusal(impostor)
    assert not impostor.heads
    await impostor.stop()
