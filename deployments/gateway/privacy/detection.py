"""Personal data in a text: what each detector finds, none of it twice."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deployments.gateway.privacy.card_numbers import card_numbers
from deployments.gateway.privacy.email_addresses import email_addresses
from deployments.gateway.privacy.found import Found
from deployments.gateway.privacy.ibans import ibans
from deployments.gateway.privacy.ip_addresses import ip_addresses
from deployments.gateway.privacy.phone_numbers import phone_numbers

ESCAPED = re.compile(r"\\(?:[nrtbf]|u[0-9a-fA-F]{4})")
POSSIBLE = re.compile(r"[\d@]|::")
TAKEN = "|"
SURE: tuple[Callable[[str], Iterator[Found]], ...] = (email_addresses, ibans, card_numbers, ip_addresses)


@dataclass(frozen=True, slots=True)
class Detector:
    """`phone_regions`: whose phone numbers are found without a country's code, as ISO 3166 codes like US."""

    phone_regions: Sequence[str] = ()

    def find(self, text: str) -> list[Found]:
        """In order, without overlap: what has a checksum or an `@` is not looked into for a phone number.

        JSON inside a text has line ends as two characters, of which the second is not part of a word.
        """
        if POSSIBLE.search(text) is None:
            return []
        left = ESCAPED.sub(lambda escape: " " * len(escape[0]), text) if "\\" in text else text
        found: list[Found] = []
        for detect in SURE:
            left = self._take(left, detect(left), found)
        self._take(left, phone_numbers(left, self.phone_regions), found)
        return sorted(found)

    def _take(self, text: str, seen: Iterator[Found], found: list[Found]) -> str:
        """`text` without what was seen in it, as long as it was."""
        taken, end = [], 0
        for one in sorted(seen):
            if one.begin >= end:
                taken += [text[end : one.begin], TAKEN * (one.end - one.begin)]
                end = one.end
                found.append(one)
        return "".join([*taken, text[end:]]) if taken else text
