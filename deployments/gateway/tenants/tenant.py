"""Step 2: who is it? A tenant, and what it may."""

from dataclasses import dataclass, fields
from typing import Literal

Privacy = Literal["off", "redact", "restore"]
ShowText = Literal["off", "on"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Over all gateways and for each model apart; None: no limit. Tokens are the prompt's and the output's together."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    tokens_per_day: int | None = None

    def __post_init__(self) -> None:
        """Raises:
        ValueError: one of them is negative. 0 means that nothing is allowed.
        """
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and limit < 0:
                raise ValueError(f"{field.name} must not be negative, and is {limit}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """`priority`: of those who wait, a higher one goes first. `models`: those it may ask for; None: all of them.

    `privacy`: whether personal data is taken out of its requests, and whether it is put back into the answers.
    `show_text`: whether the admin port tells what its latest requests said and were answered.
    """

    name: str
    limits: Limits = Limits()
    priority: int = 0
    models: frozenset[str] | None = None
    privacy: Privacy = "off"
    show_text: ShowText = "off"

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


ANYONE = Tenant("anyone")
