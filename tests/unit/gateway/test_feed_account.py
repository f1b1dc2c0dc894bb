"""What holds of a feed for any bytes."""

import contextlib
from itertools import pairwise

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.gateway.feed import dispatch_header
from deployments.gateway.feed_account import FeedAccount, FeedAnswer, FeedBroken, decoded_blocks
from engine.request_feed import MAX_DISPATCH_BYTES, read_dispatch
from tests.unit.gateway.feed_engine import HEAD, RESET, Notes, began, ended, first

ids = st.text("abcXYZ019._-", min_size=1, max_size=64)
counts = st.integers(0, 10**9 - 1)
hashes = st.integers(0, 2**64 - 1)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20)
)
events = st.sampled_from([RESET, began("g/1"), began("g/2", f=True), first("g/1"), ended("g/1")])
nearly_events = st.dictionaries(
    st.sampled_from(["e", "k", "p", "h", "b", "f"]), scalars | st.sampled_from(["began", "ended", "first", "-"])
)


@given(ids, ids, counts, counts, st.lists(hashes, max_size=50))
def test_an_engine_understands_what_a_gateway_sends_with_a_request(
    gateway: str, key: str, prompt_tokens: int, hit_tokens: int, blocks: list[int]
) -> None:
    told = read_dispatch(dispatch_header(gateway, key, prompt_tokens, hit_tokens, blocks))
    assert told is not None
    assert (told.gateway, told.key) == (gateway.encode(), f"{gateway}/{key}".encode())
    assert (told.prompt_tokens, told.hit_tokens) == (prompt_tokens, min(hit_tokens, prompt_tokens))
    assert decoded_blocks(told.blocks.decode()) == tuple(blocks)


@given(ids, ids, hashes, st.integers(700, 900))
@example("g" * 64, "k" * 64, 2**64 - 1, 10_000)
@example("g", "k", 0, 766)
def test_of_a_prompt_of_very_many_blocks_the_first_are_told(gateway: str, key: str, block: int, count: int) -> None:
    blocks = tuple((block + number) % 2**64 for number in range(count))
    header = dispatch_header(gateway, key, 10**6, 0, blocks)
    assert len(header) <= MAX_DISPATCH_BYTES
    told = read_dispatch(header)
    assert told is not None
    known = decoded_blocks(told.blocks.decode())
    assert known == blocks[: len(known)]
    assert len(known) == count or len(header) + 11 > MAX_DISPATCH_BYTES


@given(st.lists(events | nearly_events, max_size=20))
def test_any_line_is_told_or_refused_and_no_request_begins_twice(lines: list[dict[str, object]]) -> None:
    notes = Notes()
    account = FeedAccount("m", "r0", notes, notes)
    with contextlib.suppress(FeedBroken):
        for line in lines:
            account.tell(orjson.dumps(line))
    open_now: set[str] = set()
    for what, _, *rest in notes.told:
        if what == "reset":
            open_now.clear()
        elif what == "began":
            assert rest[0] not in open_now
            open_now.add(rest[0])
        elif what == "ended":
            open_now.discard(rest[0])
    assert not notes.told or notes.told[0] == ("reset", "r0")


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_lines_or_refused(data: bytes, begins_well: bool) -> None:
    answer, account = FeedAnswer(), FeedAccount("m", "r0", Notes(), Notes())
    with contextlib.suppress(FeedBroken):
        for line in answer.lines((HEAD if begins_well else b"") + data):
            account.tell(line)


@given(st.lists(st.binary(min_size=1, max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=10), st.data())
def test_lines_are_whole_however_the_network_cuts_them(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    sent = HEAD + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (text[:7], text[7:]) if chunk)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=10)))
    answer = FeedAnswer()
    pieces = [sent[begin:end] for begin, end in pairwise([0, *cuts, len(sent)])]
    assert [line for piece in pieces for line in answer.lines(piece)] == lines
