"""Numbers of payment cards: grouped as cards are, of a length that their issuer uses, with the right check digit."""

import re
from collections.abc import Iterator

from stdnum import luhn

from deployments.gateway.privacy.found import Found, Kind

GAP = r"[ \u00a0\u202f.-]"
CARD = re.compile(
    r"\d(?<!\d\d)(?<!\d[.,-]\d)"
    rf"(?:\d{{12,18}}|\d{{3}}({GAP})\d{{4}}\1\d{{4}}\1(?:\d{{4}}\1\d{{3}}|\d{{1,4}})|\d{{3}}({GAP})\d{{6}}\2\d{{4,5}})"
    r"(?!\d)"
)
ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4000, 4999, frozenset({16, 19})),
    (5100, 5599, frozenset({16})),
    (2221, 2720, frozenset({16})),
    (3400, 3499, frozenset({15})),
    (3700, 3799, frozenset({15})),
    (6011, 6011, frozenset({16, 17, 18, 19})),
    (6440, 6599, frozenset({16, 17, 18, 19})),
    (3528, 3589, frozenset({16, 17, 18, 19})),
    (3000, 3059, frozenset({14, 15, 16, 17, 18, 19})),
    (3600, 3699, frozenset({14, 15, 16, 17, 18, 19})),
    (3800, 3999, frozenset({14, 15, 16, 17, 18, 19})),
    (6200, 6299, frozenset({16, 17, 18, 19})),
    (5000, 5099, frozenset({16, 17, 18, 19})),
    (5600, 5899, frozenset({16, 17, 18, 19})),
    (6300, 6399, frozenset({16, 17, 18, 19})),
    (6700, 6799, frozenset({16, 17, 18, 19})),
)


def card_numbers(text: str) -> Iterator[Found]:
    """Groups of digits before one may look like its beginning."""
    at = 0
    while (match := CARD.search(text, at)) is not None:
        is_one = is_card(match[0])
        if is_one:
            yield Found(match.start(), match.end(), Kind.CARD)
        at = match.end() if is_one else match.start() + 1


def is_card(written: str) -> bool:
    """Issuers' prefixes and lengths are those of ISO/IEC 7812 as the schemes publish them."""
    digits = "".join(str(int(character)) for character in written if character.isdecimal())
    prefix, length = int(digits[:4]), len(digits)
    is_issued = any(low <= prefix <= high and length in lengths for low, high, lengths in ISSUERS)
    return is_issued and luhn.is_valid(digits)
