"""IP addresses that say where somebody is: not loopback, masks and the like, and not versions of programs."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from deployments.gateway.privacy.found import Found, Kind

OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
DOTTED = rf"{OCTET}(?:\.{OCTET}){{3}}"
V4 = re.compile(rf"(?<![\w.])(?<![\w.][-+]){DOTTED}(?![\w]|[.-]\w)", re.ASCII)
V6 = re.compile(
    r"(?<![\w:.])(?:(?:[0-9a-f]{1,4}:){2,7}|[0-9a-f]{1,4}::|::)"
    rf"(?:(?:[0-9a-f]{{1,4}})?(?:::?[0-9a-f]{{1,4}}){{0,7}}(?:::?)?)(?:(?<=:){DOTTED})?(?![\w:]|\.\w)",
    re.ASCII | re.IGNORECASE,
)
V6_BEGINS = re.compile(r"[0-9a-f]{4}:|::ffff:|64:ff9b:", re.IGNORECASE)
VERSION_BEFORE = re.compile(
    r"(?:\b(?:v|ver|version|release|build|firmware|driver|oid|iso|section|chapter|clause|§)\b\.?\s*[:=#]?\s*|[a-z]/|==\s?|~=\s?|>=\s?|<=\s?)$",
    re.IGNORECASE,
)
LONGEST_WORD_BEFORE = 24


def ip_addresses(text: str) -> Iterator[Found]:
    for match in V4.finditer(text):
        before = text[max(0, match.start() - LONGEST_WORD_BEFORE) : match.start()]
        if VERSION_BEFORE.search(before) is None and says_where(IPv4Address(match[0])):
            yield Found(match.start(), match.end(), Kind.IP)
    if ":" not in text:
        return
    for match in V6.finditer(text):
        if V6_BEGINS.match(match[0]) is not None and is_v6_that_says_where(match[0]):
            yield Found(match.start(), match.end(), Kind.IP)


def is_v6_that_says_where(written: str) -> bool:
    try:
        address = ip_address(written)
    except ValueError:
        return False
    return says_where(address)


def says_where(address: IPv4Address | IPv6Address) -> bool:
    """Private ones do: within a company they are one person's machine."""
    is_mask = isinstance(address, IPv4Address) and int(address) >> 24 in (0, 255)
    return not (is_mask or address.is_loopback or address.is_multicast or address.is_unspecified)
