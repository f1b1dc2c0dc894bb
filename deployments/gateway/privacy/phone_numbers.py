"""Phone numbers by Google's rules for each country, in the port of its library to Python."""

import re
from collections.abc import Iterator, Sequence

from phonenumbers import Leniency, PhoneNumberMatch, PhoneNumberMatcher

from deployments.gateway.privacy.found import Found, Kind

LEAST_DIGITS = re.compile(r"\d(?:[^\w\n]{0,4}\d){6}|\+")
DIALLED = re.compile(r"(?<![\d.,+-])(?<!\d[\s()./-])00(?=[1-9](?:[^\w\n]{0,2}\d){7})")
PLUS = " +"
DAY, MONTH, YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d{2}"
DATE = re.compile(
    rf"(?<!\d)(?<!\d[./-])(?:{YEAR}([-/.]){MONTH}\1{DAY}(?:[T ]\d{{2}}:\d{{2}}(?::\d{{2}}(?:[.,]\d{{1,9}})?)?)?"
    rf"|{DAY}([-/.]){MONTH}\2{YEAR}|{MONTH}([-/]){DAY}\3{YEAR})(?!\d)(?![./-]\d)"
)
GROUPED = re.compile(r"\d[^\d]+\d")
SAID_TO_BE_ONE = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|fax|call|text|sms|whatsapp|ring|dial|telefon|handy|mobil|t[ée]l|"
    r"t[ée]l[ée]phone|tel[ée]fono|telefone|m[óo]vil|n[uú]mero|portable)\b[^\d\n]{0,24}$",
    re.IGNORECASE,
)
LONGEST_WORD_BEFORE = 40
NO_END_OF_TRIES = 2**31


def phone_numbers(text: str, regions: Sequence[str]) -> Iterator[Found]:
    """With `+` or `00` from anywhere; without it those of `regions` (ISO 3166 codes), in groups or after a word that
    says so: ten digits alone are as often an order's number.
    """
    if LEAST_DIGITS.search(text) is None:
        return
    dialled = DIALLED.sub(PLUS, DATE.sub(lambda date: "|" * len(date[0]), text))
    for region in regions or (None,):
        for match in PhoneNumberMatcher(dialled, region, leniency=Leniency.VALID, max_tries=NO_END_OF_TRIES):
            if match.raw_string.lstrip("([").startswith(("+", "\uff0b")):
                is_dialled = text[match.start] == "0"
                yield Found(match.start - is_dialled, match.end, Kind.PHONE)
            elif is_national(text, match):
                yield Found(match.start, match.end, Kind.PHONE)


def is_national(text: str, match: PhoneNumberMatch) -> bool:
    before = text[max(0, match.start - LONGEST_WORD_BEFORE) : match.start]
    return GROUPED.search(match.raw_string) is not None or SAID_TO_BE_ONE.search(before) is not None
