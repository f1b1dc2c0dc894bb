"""TLS with the operator's own certificate, renewed while streams go on."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.certificate import Certificate, CertificateError, server_context
from deployments.gateway.replica_table import ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, Client, get, post, replica_info
from tests.unit.gateway.keys import no_keys
from tests.unit.gateway.scripted_engine import EVENT_STREAM, Exchange


def write_pair(folder: Path, name: str) -> None:
    """`cert.pem` and `key.pem` for `name`, in place of what is there, as a renewal does."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "new.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
    (folder / "new.pem").replace(folder / "key.pem")
    (folder / "new.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "new.pem").replace(folder / "cert.pem")


class Speaking:
    """A gateway that speaks TLS, and clients that look at nothing but whose certificate it is."""

    def __init__(self, gateway: Gateway, certificate: Certificate, replicas: ReplicaTable) -> None:
        self.gateway = gateway
        self.certificate = certificate
        self.replicas = replicas

    async def client(self, **limits: ssl.TLSVersion) -> Client:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for name, version in limits.items():
            setattr(context, name, version)
        return Client(*await asyncio.open_connection("127.0.0.1", self.gateway.bound_port, ssl=context))


def name_on(client: Client) -> str:
    der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return str(x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


@pytest.fixture
async def speaking(tmp_path: Path) -> AsyncIterator[Speaking]:
    write_pair(tmp_path, "first")
    certificate = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    replicas, catalogue = ReplicaTable(), Catalogue()
    catalogue.replace({MODEL: ModelCard(MODEL, "vllm")})
    settings = GatewaySettings(max_body_bytes=1000, request_timeout_s=1.0)
    gateway = Gateway(settings, replicas, catalogue, no_keys(), certificate)
    await gateway.start("127.0.0.1", 0)
    yield Speaking(gateway, certificate, replicas)
    await gateway.close()


async def test_a_client_speaks_tls_and_keeps_its_connection(speaking: Speaking) -> None:
    client = await speaking.client()
    assert name_on(client) == "first"
    for _ in range(3):
        client.send(get("/health"))
        assert (await client.answer()).status == 200
    client.leave()


async def test_a_new_certificate_is_for_new_connections_and_a_stream_goes_on(
    speaking: Speaking, start_engine: StartEngine, tmp_path: Path
) -> None:
    renewed = asyncio.Event()

    async def half_before_and_half_after(exchange: Exchange) -> None:
        exchange.writer.write(EVENT_STREAM)
        exchange.chunk(b"data: 1\n\n")
        await renewed.wait()
        exchange.chunk(b"data: 2\n\n")
        exchange.writer.write(b"0\r\n\r\n")

    speaking.gateway.set_replicas(MODEL, [replica_info("r0", await start_engine(half_before_and_half_after))])
    old = await speaking.client()
    old.send(post(body=STREAMING))
    await old.head()
    assert await old.chunk() == b"data: 1\n\n"
    write_pair(tmp_path, "second")
    speaking.certificate.refresh()
    new = await speaking.client()
    assert name_on(new) == "second"
    renewed.set()
    assert await old.chunk() == b"data: 2\n\n"
    assert await old.chunk() == b""
    old.send(get("/health"))
    assert (await old.answer()).status == 200
    assert name_on(old) == "first"
    old.leave()
    new.leave()


async def test_a_running_gateway_finds_a_new_certificate_by_itself(
    speaking: Speaking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.gateway.certificate.PERIOD_S", 0.02)
    following = asyncio.create_task(speaking.certificate.follow())
    write_pair(tmp_path, "second")
    async with asyncio.timeout(5):
        while name_on(client := await speaking.client()) != "second":
            client.leave()
    client.leave()
    following.cancel()


@pytest.mark.parametrize("what", ["another key", "no key", "no certificate", "nonsense", "half a file"])
async def test_a_pair_that_is_none_is_told_and_the_old_one_goes_on(
    speaking: Speaking, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    if what == "another key":
        mine = certificate.read_bytes()
        write_pair(tmp_path, "second")
        certificate.write_bytes(mine)
    elif what == "no key":
        key.unlink()
    elif what == "no certificate":
        certificate.unlink()
    elif what == "nonsense":
        certificate.write_text("nonsense")
    else:
        certificate.write_bytes(certificate.read_bytes()[:100])
    with caplog.at_level(logging.ERROR):
        speaking.certificate.refresh()
        speaking.certificate.refresh()
    assert caplog.text.count("the certificate in use stays") == 1
    client = await speaking.client()
    assert name_on(client) == "first"
    client.leave()
    write_pair(tmp_path, "third")
    speaking.certificate.refresh()
    client = await speaking.client()
    assert name_on(client) == "third"
    client.leave()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_older_than_tls_1_2_is_not_spoken(speaking: Speaking) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await speaking.client(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    client = await speaking.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.2"
    client.leave()


async def test_plain_http_on_the_port_gets_nothing(speaking: Speaking) -> None:
    client = Client(*await asyncio.open_connection("127.0.0.1", speaking.gateway.bound_port))
    client.send(get("/health"))
    assert not (await client.reader.read()).startswith(b"HTTP")
    client.leave()


async def test_a_client_still_sending_a_body_too_large_can_read_the_413(speaking: Speaking) -> None:
    client = await speaking.client()
    client.send(b"POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 500000\r\n\r\n" + b"x" * 400_000)
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    client.leave()


async def test_who_opens_a_connection_and_says_nothing_is_let_go(speaking: Speaking) -> None:
    client = Client(*await asyncio.open_connection("127.0.0.1", speaking.gateway.bound_port))
    assert await client.closed()


def test_what_is_wrong_with_a_pair_is_said(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    with pytest.raises(CertificateError, match=r"none\.pem cannot be read: No such file"):
        server_context(certificate, tmp_path / "none.pem")
    with pytest.raises(CertificateError, match="without password"):
        server_context(key, certificate)
    (tmp_path / "other").mkdir()
    write_pair(tmp_path / "other", "b")
    with pytest.raises(CertificateError, match="is not the key of"):
        server_context(certificate, tmp_path / "other" / "key.pem")
