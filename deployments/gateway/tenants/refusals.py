"""What a client is told of a tenant's limits: 429 and why, and OpenAI's `x-ratelimit-*` headers on every answer."""

import math
from collections.abc import Mapping

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipient import Headers
from deployments.gateway.tenants.bins import DAY_S, Moment
from deployments.gateway.tenants.lease import Kind
from deployments.gateway.tenants.pot import Pot

NAMES = {
    Kind.REQUESTS: "requests per minute",
    Kind.TOKENS: "tokens per minute",
    Kind.SLOTS: "requests at a time",
    Kind.DAY: "tokens per day",
}
HEADER_NAMES = {Kind.REQUESTS: b"requests", Kind.TOKENS: b"tokens"}


def over_limit(tenant: str, model: str, pot: Pot, tokens: int, retry_after_s: int) -> GatewayError:
    asked = f", and this one is expected to take {tokens}" if pot.kind in (Kind.TOKENS, Kind.DAY) else ""
    message = (
        f"'{tenant}' may use {pot.limit} {NAMES[pot.kind]} with '{model}'{asked}: too many now. "
        f"Try again in {retry_after_s} s."
    )
    return GatewayError(429, "rate_limit_exceeded", message, retry_after_s=retry_after_s)


def nothing_allowed(tenant: str, model: str, kind: Kind) -> GatewayError:
    message = f"'{tenant}' may not use '{model}': its limit is 0 {NAMES[kind]}."
    return GatewayError(403, "limit_is_zero", message)


def never_fits(tenant: str, model: str, pot: Pot, prompt_tokens: int) -> GatewayError:
    """400: a client that tries again gets the same."""
    message = (
        f"This prompt of about {prompt_tokens} tokens is larger than all that '{tenant}' may use with '{model}': "
        f"{pot.limit} {NAMES[pot.kind]}. It has to be shorter."
    )
    return GatewayError(400, "request_exceeds_limit", message)


def limits_unknown() -> GatewayError:
    message = "What is left of the limits is not known yet. Try again."
    return GatewayError(503, "limits_unknown", message, retry_after_s=1)


def retry_after_s(pot: Pot, moment: Moment, unix_s: float) -> int:
    """Whole seconds, at least one: a slot may be free at any moment, a day's tokens come with the next day."""
    return max(1, math.ceil(DAY_S - unix_s % DAY_S if pot.kind is Kind.DAY else pot.wait_s(moment)))


def rate_headers(pots: Mapping[Kind, Pot], moment: Moment) -> Headers:
    headers: Headers = []
    for kind, name in HEADER_NAMES.items():
        pot = pots.get(kind)
        if pot is not None:
            headers += [
                (b"x-ratelimit-limit-" + name, b"%d" % pot.limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % pot.remaining()),
                (b"x-ratelimit-reset-" + name, duration(pot.full_at_s - moment.now_s)),
            ]
    return headers


def duration(seconds: float) -> bytes:
    """As OpenAI writes it: `6m0s`, `1.5s`, `20ms`."""
    ms = max(0, math.ceil(seconds * 1000))
    if ms < 1000:
        return b"%dms" % ms
    minutes, rest = divmod(ms / 1000, 60)
    return (b"%dm%gs" % (minutes, round(rest, 3))) if minutes else b"%gs" % round(rest, 3)
