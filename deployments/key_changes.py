"""What an operator may do to keys and tenants, as it is sent to state. None of it has a key in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "tokens_per_day")


@dataclass(frozen=True, slots=True)
class CreateKey:
    """`settings`: of a tenant that does not exist yet; see `SetLimits`. `expires_at_s`: by the wall clock, or None."""

    tenant: str
    key_id: str
    fingerprint: bytes = field(repr=False)
    expires_at_s: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RotateKey:
    """A new key for the tenant of `old_id`, which lives for `grace_s` more. Without `expires_at_s` it lives as long as
    the old one was made for.
    """

    old_id: str
    key_id: str
    fingerprint: bytes = field(repr=False)
    grace_s: float = 0.0
    expires_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class RevokeKey:
    key_id: str


@dataclass(frozen=True, slots=True)
class SetLimits:
    """`settings` has some of `LIMITS`, `priority`, `models`, `privacy` and `show_text`; None: no limit, all models.
    What is left out stays.
    """

    tenant: str
    settings: Mapping[str, Any]


KeyChange = CreateKey | RotateKey | RevokeKey | SetLimits


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was changed, and why."""

    message: str
