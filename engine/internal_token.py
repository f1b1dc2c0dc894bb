"""What a gateway shows to an engine: made of a secret that both have and of the hour, so that it is good for two hours.

The secret never goes over the connection between them. Nobody has to agree on a moment to change: an engine takes the
hour before and the hour after too, so clocks may differ by an hour. Only the standard library: the guard needs it.
"""

import hmac
import time
from functools import lru_cache

PERIOD_S = 3_600.0


def token_now(secret: str) -> bytes:
    """For the header of a request that is sent now."""
    return _token(secret, _period())


def is_token(secret: str, given: bytes) -> bool:
    """Whether it is of this hour or one beside it."""
    period = _period()
    return any(hmac.compare_digest(given, _token(secret, at)) for at in (period, period - 1, period + 1))


def _period() -> int:
    return int(time.time() // PERIOD_S)


@lru_cache(maxsize=4_096)
def _token(secret: str, period: int) -> bytes:
    return hmac.digest(secret.encode(), b"internal token %d" % period, "sha256").hex().encode()
