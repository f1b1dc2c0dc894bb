"""What divides an engine's prefix cache between tenants: none can find out by timing what another has sent."""

import hmac

from engine.guard import TOKENS_ROUTE

SALTED_ROUTES = frozenset(
    {b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings", b"/v1/messages", b"/v1/responses", TOKENS_ROUTE}
)


def cache_salt(secret: bytes, tenant: str) -> str:
    """The same in every gateway that has the cluster's `secret`, and nothing that can be guessed without it."""
    return hmac.digest(secret, b"cache-salt:" + tenant.encode("utf-8", "surrogatepass"), "sha256").hex()
