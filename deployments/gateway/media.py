"""Media from hosts that the operator allows, fetched here and put into the request: an engine fetches nothing."""

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import Sequence
from functools import cached_property
from urllib.parse import urlsplit

import httpx

from deployments.gateway.body_rules.content import MediaReference
from deployments.gateway.errors import GatewayError
from deployments.gateway.public_address import Resolve, looked_up, public_address

LIMIT_S = 10.0
LARGEST_BYTES = 20 * 1024 * 1024
AT_ONCE = 4
TYPES = re.compile(r"(?:image|audio|video)/[\w.+-]{1,64}|application/pdf", re.ASCII)


class MediaFetcher:
    """At most `AT_ONCE` at a time, each within `LIMIT_S`; `LARGEST_BYTES` are for all of a request.

    `transport` reaches an address.
    """

    def __init__(self, resolve: Resolve = looked_up, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._resolve = resolve
        self._transport = transport
        self._room = asyncio.Semaphore(AT_ONCE)

    async def put_in_place(self, references: Sequence[MediaReference]) -> None:
        """Each URL becomes a data URI; one that comes twice is fetched once.

        Raises:
            GatewayError: 400, one of them cannot be had.
        """
        fetched: dict[str, str] = {}
        left_bytes = LARGEST_BYTES
        for reference in references:
            url = reference.url
            if url not in fetched:
                async with self._room:
                    kind, content = await self._fetch(url, left_bytes)
                left_bytes -= len(content)
                fetched[url] = f"data:{kind};base64,{b64encode(content).decode()}"
            reference.holder[reference.key] = fetched[url]

    async def _fetch(self, url: str, limit_bytes: int) -> tuple[str, bytes]:
        host = urlsplit(url).hostname or ""
        try:
            async with asyncio.timeout(LIMIT_S):
                address = await public_address(host, self._resolve)
                return await self._get(url, host, address, limit_bytes)
        except TimeoutError:
            raise unavailable(host, f"it did not come within {LIMIT_S:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError):
            raise unavailable(host, "it could not be reached, or its certificate is not its own") from None

    async def _get(self, url: str, host: str, address: str, limit_bytes: int) -> tuple[str, bytes]:
        """Its type and content, from `address` and no other, where whoever answers has to show that it is `host`."""
        transport = self._transport or httpx.AsyncHTTPTransport(verify=self._trusted, trust_env=False)
        pinned = httpx.URL(url).copy_with(host=address)
        headers = {"host": host, "accept-encoding": "identity", "user-agent": "baryon"}
        async with (
            httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", pinned, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise unavailable(host, f"it answered {answer.status_code}, and redirects are not followed")
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if not TYPES.fullmatch(kind) or "content-encoding" in answer.headers:
                raise unavailable(host, "it is not an image, audio, video or PDF as it is")
            content = bytearray()
            async for piece in answer.aiter_raw():
                content += piece
                if len(content) > limit_bytes:
                    raise unavailable(host, f"media are larger than {LARGEST_BYTES >> 20} MiB together")
        return kind, bytes(content)

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def unavailable(host: str, why: str) -> GatewayError:
    return GatewayError(400, "media_unavailable", f"A medium from '{host}' cannot be used: {why}.")
