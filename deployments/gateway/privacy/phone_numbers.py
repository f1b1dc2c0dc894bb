"""Phone numbers by Google's rules for each country, in the port of its library to Python."""

import re
from collections.abc import Iterator, Sequence

from phonenumbers import Leniency, PhoneNumberMatcher

from deployments.gateway.privacy.found import Found, Kind

CANDIDATE = re.compile(r"\d(?:[^\w\n]{0,4}\d){6,}")
BEFORE, AFTER = 8, 16
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
    for candidate in CANDIDATE.finditer(text):
        begin = max(0, candidate.start() - BEFORE)
        window = text[begin : candidate.end() + AFTER]
        window = DIALLED.sub(PLUS, DATE.sub(lambda date: "|" * len(date[0]), window))
        for region in regions or (None,):
            for match in PhoneNumberMatcher(window, region, leniency=Leniency.VALID, max_tries=NO_END_OF_TRIES):
                start, end = begin + match.start, begin + match.end
                if start < candidate.end() and end > candidate.start() and is_one(text, start, match.raw_string):
                    is_dialled = text[start] == "0" and match.raw_string.startswith("+")
                    yield Found(start - is_dialled, end, Kind.PHONE)


def is_one(text: str, start: int, written: str) -> bool:
    """Not only digits that could be one."""
    if written.lstrip("([").startswith(("+", "\uff0b")) or GROUPED.search(written) is not None:
        return True
    return SAID_TO_BE_ONE.search(text[max(0, start - LONGEST_WORD_BEFORE) : start]) is not None
