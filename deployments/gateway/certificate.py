"""The gateway's certificate, looked at again while it serves: who renews it need not tell anybody."""

import asyncio
import logging
import os
import ssl
from pathlib import Path

logger = logging.getLogger(__name__)

PERIOD_S = 1.0


class CertificateError(Exception):
    """The two files are not a certificate and its key. The message says which, and what is wrong."""


class Certificate:
    """`context` is for a server. Connections that begin after `refresh` has seen a new pair get that one, others
    keep theirs. A pair that is none is logged, and the old one goes on.

    Raises:
        CertificateError: at the beginning there is no pair to begin with.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._seen = self._versions()
        self._current = server_context(certificate, key)
        self.context = server_context(certificate, key)
        self.context.sni_callback = self._hand_out  # called for each connection, with or without a name

    def refresh(self) -> None:
        versions = self._versions()
        if versions == self._seen:
            return
        self._seen = versions
        try:
            self._current = server_context(*self._files)
        except CertificateError as error:
            logger.error("the certificate in use stays: %s", error)
        else:
            logger.info("a new certificate is in use: %s", self._files[0])

    async def follow(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            await asyncio.to_thread(self.refresh)

    def _hand_out(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _versions(self) -> list[tuple[int, int, int] | None]:
        return [version(path) for path in self._files]


def version(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file's content, also when a link is set to another file. None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and 1.3, HTTP/1.1.

    Raises:
        CertificateError: a file that cannot be read, is not PEM, or does not fit the other one.
    """
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise CertificateError(f"{path} cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"{key} is not the key of {certificate}") from None
        raise CertificateError(
            f"{certificate} and {key} are not a PEM certificate and its key without password"
        ) from None
    return context
