"""Step 1 as a whole: from the bytes of a body to a request, with the media that it names fetched, and without personal
data where its tenant wants that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deployments.gateway.media import MediaFetcher
from deployments.gateway.request import InferenceRequest, inference_request, read_document
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import Privacy

if TYPE_CHECKING:
    from deployments.gateway.privacy.redactor import Redactor


class RequestReader:
    def __init__(self, settings: Callable[[], GatewaySettings], fetcher: MediaFetcher | None = None) -> None:
        self._settings = settings
        self._fetcher = fetcher or MediaFetcher()
        self._redactor: tuple[tuple[object, ...], Redactor] | None = None

    async def read(
        self, path: bytes, body: bytes, cache_salt: str | None, privacy: Privacy = "off"
    ) -> InferenceRequest:
        """`cache_salt`: of the tenant that asks; None where there are no tenants. `privacy`: the tenant's.

        Raises:
            GatewayError: the request is refused.
        """
        document, remote = read_document(path, body, self._settings())
        if remote:
            await self._fetcher.put_in_place(remote)
        if privacy == "off":
            return inference_request(path, document, cache_salt)
        redacted = await self.redactor().redact(document, privacy, len(body))
        asked = inference_request(path, redacted.document, cache_salt)
        return replace(asked, redacted=redacted.header(), new_tap=redacted.new_tap(path))

    def own(self, path: bytes, document: dict[str, Any], cache_salt: str | None) -> InferenceRequest:
        """Of a document that the gateway itself has written: it is not checked as one of a client's is."""
        return inference_request(path, document, cache_salt)

    def redactor(self) -> Redactor:
        """As it is configured now. What it needs takes memory, so it is loaded for the first tenant that wants it."""
        from deployments.gateway.privacy.redactor import configured_redactor

        settings = self._settings()
        configured = (tuple(settings.phone_regions), settings.names_url, settings.names_model)
        if self._redactor is None or self._redactor[0] != configured:
            self._redactor = configured, configured_redactor(settings)
        return self._redactor[1]
