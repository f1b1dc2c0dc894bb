"""Step 1 as a whole: from the bytes of a body to a request, with the media that it names fetched."""

from collections.abc import Callable
from typing import Any

from deployments.gateway.media import MediaFetcher
from deployments.gateway.request import InferenceRequest, inference_request, read_document
from deployments.gateway.settings import GatewaySettings


class RequestReader:
    def __init__(self, settings: Callable[[], GatewaySettings], fetcher: MediaFetcher | None = None) -> None:
        self._settings = settings
        self._fetcher = fetcher or MediaFetcher()

    async def read(self, path: bytes, body: bytes, cache_salt: str | None) -> InferenceRequest:
        """`cache_salt`: of the tenant that asks; None where there are no tenants.

        Raises:
            GatewayError: the request is refused.
        """
        document, remote = read_document(path, body, self._settings())
        if remote:
            await self._fetcher.put_in_place(remote)
        return inference_request(path, document, cache_salt)

    def own(self, path: bytes, document: dict[str, Any], cache_salt: str | None) -> InferenceRequest:
        """Of a document that the gateway itself has written: it is not checked as one of a client's is."""
        return inference_request(path, document, cache_salt)
