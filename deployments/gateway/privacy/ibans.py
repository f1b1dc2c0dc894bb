"""International bank account numbers: as long as their country's are, with ISO 13616's check digits."""

import re
from collections.abc import Iterator
from functools import cache

from stdnum import iban, numdb

from deployments.gateway.privacy.found import Found, Kind

GAP = "[ \u00a0\u202f-]"
BEGINNING = re.compile(rf"(?<![^\W_])([a-z]{{2}})\d{{2}}{GAP}?[a-z0-9]{{4}}", re.ASCII | re.IGNORECASE)
SEPARATORS = str.maketrans("", "", " \u00a0\u202f-")
PART = re.compile(r"(\d+)!")


def ibans(text: str) -> Iterator[Found]:
    at = 0
    while (match := BEGINNING.search(text, at)) is not None:
        length = length_in(match[1].upper())
        whole = of_length(length).match(text, match.start()) if length else None
        is_one = whole is not None and is_iban(whole[0])
        if whole is not None and is_one:
            yield Found(match.start(), whole.end(), Kind.IBAN)
        at = whole.end() if whole is not None and is_one else match.start() + 4


@cache
def length_in(country: str) -> int:
    """Characters; 0 for what is no country with such numbers. The library has SWIFT's registry."""
    structure = numdb.get("iban").info(country)[0][1].get("bban", "")
    return 4 + sum(map(int, PART.findall(structure))) if structure else 0


@cache
def of_length(length: int) -> re.Pattern[str]:
    return re.compile(rf"(?:[a-z0-9]{GAP}?){{{length - 1}}}[a-z0-9](?![^\W_])", re.ASCII | re.IGNORECASE)


def is_iban(written: str) -> bool:
    return bool(iban.is_valid(written.translate(SEPARATORS), check_country=False))
