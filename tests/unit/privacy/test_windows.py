"""A long text is looked through part by part, and nothing is lost where the parts meet."""

import re
from collections.abc import Iterator

import pytest

from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.found import Found, Kind
from deployments.gateway.privacy.windows import CONTEXT_CHARS, WINDOW_CHARS, in_windows
from tests.unit.privacy.requests import CARD, DATA, EMAIL, redaction

DETECTOR = Detector(("US",))


@pytest.mark.parametrize("value", [EMAIL, CARD, f"{'a' * 64}@{'b' * 60}.{'c' * 60}.com", "+49 30 901820"])
def test_what_stands_where_two_parts_meet_is_found_once(value: str) -> None:
    for before in range(WINDOW_CHARS - len(value) - 1, WINDOW_CHARS + 2, 7):
        text = ("word " * WINDOW_CHARS)[: before - 1] + f" {value} " + "word " * 10
        assert [text[one.begin : one.end] for one in in_windows(text, DETECTOR.find)] == [value]


def test_long_texts_are_found_in_as_if_they_were_looked_at_in_one_piece() -> None:
    text = f"{DATA} and then, much later, " * 600
    assert len(text) > 3 * WINDOW_CHARS
    assert list(in_windows(text, DETECTOR.find)) == DETECTOR.find(text)


def test_nobody_looks_at_more_than_a_part_at_a_time() -> None:
    """So no expression keeps all other requests waiting for as long as it needs for a text of megabytes."""
    seen: list[int] = []

    def find(text: str) -> Iterator[Found]:
        seen.append(len(text))
        return (Found(match.start(), match.end(), Kind.IP) for match in re.finditer("x", text))

    assert len(list(in_windows("x" * 200_000, find))) == 200_000
    assert max(seen) <= WINDOW_CHARS + 2 * CONTEXT_CHARS


def test_no_value_of_a_long_text_is_left_in_it() -> None:
    redacted = redaction().document({"prompt": f"{DATA} " * 1000})
    assert EMAIL not in redacted["prompt"]
    assert set(redacted["prompt"].split()) == set(redaction().document({"prompt": f"{DATA} "})["prompt"].split())
