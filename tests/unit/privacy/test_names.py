"""Names that are known are found wherever they stand as words of their own."""

import re

from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.privacy.names import KnownNames

NAMES = ("Ann", "Ann Lee", "Ann Lee-Ng", "O'Neil", "'Abd", "Zoë", "李明", "J. R.")
PIECES = st.sampled_from([*NAMES, "Anna", "anN", " ", "-", ".", "x", "1", "Lee", "'", "\n", "明"])


def known(*names: str) -> KnownNames:
    made = KnownNames()
    made.add(names)
    return made


def test_the_longest_of_those_that_begin_alike_is_taken() -> None:
    text = "Ann Lee-Ng and Ann Lee and Ann, not Anna"
    assert [text[one.begin : one.end] for one in known(*NAMES).find(text)] == ["Ann Lee-Ng", "Ann Lee", "Ann"]


@given(st.lists(PIECES).map("".join))
def test_names_are_found_as_an_expression_of_all_of_them_would(text: str) -> None:
    longest_first = sorted(NAMES, key=len, reverse=True)
    every = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    assert [(one.begin, one.end) for one in known(*NAMES).find(text)] == [one.span() for one in every.finditer(text)]


def test_without_names_there_are_none() -> None:
    assert not list(known().find("Ann"))
