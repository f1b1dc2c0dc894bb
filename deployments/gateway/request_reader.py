"""Step 1 as a whole: from the bytes of a body to a request, with the media that it names fetched."""

from collections.abc import Callable

from deployments.gateway.request import InferenceRequest, inference_request, read_document
from deployments.gateway.settings import GatewaySettings


class RequestReader:
    def __init__(self, settings: Callable[[], GatewaySettings]) -> None:
        self._settings = settings

    async def read(self, path: bytes, body: bytes, cache_salt: str | None) -> InferenceRequest:
        """`cache_salt`: of the tenant that asks; None where there are no tenants.

        Raises:
            GatewayError: the request is refused.
        """
        document, _ = read_document(path, body, self._settings())
        return inference_request(path, document, cache_salt)
