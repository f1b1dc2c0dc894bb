"""What gateways and state tell each other of limits: what was used and is held here, what may be used there."""

from dataclasses import dataclass, field
from enum import IntEnum

from deployments.gateway.tenants.tenant import Limits

Key = tuple[str, str]
"""A tenant's name and a model's."""


class Kind(IntEnum):
    """What a limit counts."""

    REQUESTS = 0
    TOKENS = 1
    SLOTS = 2
    DAY = 3


PER_MINUTE = frozenset({Kind.REQUESTS, Kind.TOKENS})


def amounts(limits: Limits) -> dict[Kind, int]:
    """The limits that there are."""
    of_kind = {
        Kind.REQUESTS: limits.requests_per_minute,
        Kind.TOKENS: limits.tokens_per_minute,
        Kind.SLOTS: limits.concurrent_requests,
        Kind.DAY: limits.tokens_per_day,
    }
    return {kind: limit for kind, limit in of_kind.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class PotReport:
    """`stock`: lent and not used. `used`: by time (`bins.py`), absolute, of the times at which it has changed.

    `need`: what requests lack that wait now, `first` the first of them alone; `advance`: what others will need soon.
    """

    stock: int
    used: dict[int, int]
    need: int = 0
    first: int = 0
    advance: int = 0


@dataclass(frozen=True, slots=True)
class AccountReport:
    """`since_s`: the Unix time since which the gateway knows these limits. `generation`: whose count of a day it is."""

    limits: Limits
    since_s: float
    generation: int
    pots: dict[Kind, PotReport]


@dataclass(frozen=True, slots=True)
class Report:
    """`number` grows, so that a late one is known as such. `now_s`: the gateway's clock, which its bins go by.

    `is_full`: all there is, and not only what has changed since the report before.
    """

    gateway_id: str
    number: int
    epoch: str
    now_s: float
    is_full: bool
    accounts: dict[Key, AccountReport]


@dataclass(frozen=True, slots=True)
class Loan:
    """`left`: what nobody uses or holds after that; `unused`: that, and what gateways hold. `ahead`: what of it a
    gateway may hold for what comes. `wait_s`: until what was needed and not granted may be there. `full_in_s`: until
    all of it is, if nobody uses more.
    """

    granted: int
    left: int
    unused: int = 0
    ahead: int = 0
    wait_s: float = 0.0
    full_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """`must_resend`: state has forgotten the gateway, and wants all. `is_lending`: false while it still hears of what
    was used before it began. The gateway is number `rank` of `gateways`.
    """

    epoch: str
    must_resend: bool = False
    is_lending: bool = False
    gateways: int = 0
    rank: int = 0
    loans: dict[Key, dict[Kind, Loan]] = field(default_factory=dict)
