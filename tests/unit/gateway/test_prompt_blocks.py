"""The same beginning is the same blocks; any difference before a block's end makes another."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.prompt_blocks import PromptBlocks, prompt_blocks, token_blocks
from deployments.gateway.request import inference_request

LONG = "The quick brown fox jumps over the lazy dog. " * 40
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def chat(*turns: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)], **more}


def shared(one: PromptBlocks, other: PromptBlocks) -> int:
    same = 0
    for mine, theirs in zip(one.hashes, other.hashes, strict=False):
        if mine != theirs:
            break
        same += 1
    return same


def test_the_next_turn_begins_with_the_blocks_of_the_last() -> None:
    first = prompt_blocks(chat(LONG), b"m")
    second = prompt_blocks(chat(LONG, "Yes.", LONG), b"m")
    assert shared(first, second) >= len(first.hashes) - 1
    assert second.size_bytes > first.size_bytes
    assert first.ends == second.ends[: len(first.ends)]


def test_everything_that_a_template_renders_divides_the_cache() -> None:
    plain = prompt_blocks(chat(LONG), b"m")
    for other in (
        prompt_blocks(chat(LONG), b"another model or adapter"),
        prompt_blocks(chat(LONG, tools=[TOOL]), b"m"),
        prompt_blocks(chat(LONG, system="Be brief."), b"m"),
        prompt_blocks({"messages": [{"role": "system", "content": LONG}]}, b"m"),
        prompt_blocks({"messages": [{"role": "user", "content": "x" + LONG}]}, b"m"),
    ):
        assert shared(plain, other) == 0


def test_what_is_not_rendered_does_not() -> None:
    one, other = prompt_blocks(chat(LONG, temperature=0), b"m"), prompt_blocks(chat(LONG, seed=7, stream=True), b"m")
    assert one == other


def test_a_prompt_of_tokens_or_of_text_has_blocks_too() -> None:
    for prompt in (LONG, [LONG], list(range(3_000))):
        assert len(prompt_blocks({"prompt": prompt}, b"m").hashes) > 8
    assert prompt_blocks({"input": LONG}, b"m").size_bytes == len(LONG)


def test_a_long_prompt_is_few_blocks_and_a_short_one_is_not_none() -> None:
    assert len(prompt_blocks({"prompt": "x" * 1_000_000}, b"m").hashes) < 600
    assert len(prompt_blocks({"prompt": "x" * 200}, b"m").hashes) == 1
    assert prompt_blocks({}, b"m") == PromptBlocks((), (), 0)


@given(st.text(min_size=0, max_size=3_000), st.text(max_size=300), st.text(max_size=300))
def test_blocks_agree_exactly_as_far_as_the_text_does(common: str, one: str, other: str) -> None:
    left, right = prompt_blocks({"prompt": common + one}, b"m"), prompt_blocks({"prompt": common + other}, b"m")
    ours, theirs = (common + one).encode("utf-8", "surrogatepass"), (common + other).encode("utf-8", "surrogatepass")
    for end, mine, yours in zip(left.ends, left.hashes, right.hashes, strict=False):
        assert (mine == yours) is (ours[:end] == theirs[:end])


@given(st.lists(st.integers(0, 2**32 - 1), min_size=64, max_size=200), st.lists(st.integers(0, 2**32 - 1)))
def test_tokens_that_begin_alike_share_blocks_and_count_as_their_text_would(ids: list[int], more: list[int]) -> None:
    first, longer = token_blocks(ids, b"m"), token_blocks([*ids, *more], b"m")
    assert first.size_bytes == 4 * len(ids)
    assert longer.hashes[: len(first.hashes)] == first.hashes
    assert set(token_blocks([ids[0] ^ 1, *ids[1:]], b"m").hashes).isdisjoint(first.hashes)


def test_what_is_only_tokenized_is_no_work_and_in_no_cache() -> None:
    """A recipe counts a prompt's tokens before it asks for an answer to it: that one is where it is computed."""
    document = {"model": "m", "messages": [{"role": "user", "content": "word " * 1000}]}
    counted, asked = (
        inference_request(path, dict(document), None).prompt for path in (b"/tokenize", b"/v1/chat/completions")
    )
    assert (counted.hashes, counted.size_bytes) == ((), 0)
    assert len(asked.hashes) > 3
