"""What kinds of personal data there are, and where in a text one stands."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The value is what placeholders call it."""

    EMAIL = "EMAIL"
    PHONE = "PHONE"
    CARD = "CARD"
    IBAN = "IBAN"
    IP = "IP"
    NAME = "NAME"


class Found(NamedTuple):
    """`text[begin:end]`."""

    begin: int
    end: int
    kind: Kind
