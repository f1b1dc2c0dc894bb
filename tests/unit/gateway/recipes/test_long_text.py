"""A text that is longer than the model's context is read in pieces, and the answers are put together."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, OpenStand, Stand, post
from tests.unit.gateway.recipes.engine import CONTEXT_TOKENS, ChatEngine

SENTENCE = "The ship number {} left the port of Genoa. "
Open = Callable[[ChatEngine], Awaitable[Stand]]


@pytest.fixture
def opened(start_engine: StartEngine, open_stand: OpenStand) -> Open:
    async def start(engine: ChatEngine) -> Stand:
        stand = await open_stand(await start_engine(engine), settings=GatewaySettings(), max_in_flight=64)
        known = [replace(one, max_model_len=CONTEXT_TOKENS) for one in stand.replicas.of(MODEL)]
        stand.gateway.set_replicas(MODEL, known)
        return stand

    return start


async def summary(stand: Stand, text: str, **more: Any) -> Any:
    answer = await stand.ask(post("/v1/recipes/summarize", {"inputs": {"text": text}, "max_tokens": 60, **more}))
    return answer if more.get("stream") else answer.json()


def note(chat: dict[str, Any]) -> str:
    """The first of the ships that this chat tells of."""
    text = chat["messages"][-1]["content"]
    return f"Ship {text.split('number ')[1].split(' ')[0]}." if "number " in text else "All ships."


def told_of(chats: list[dict[str, Any]]) -> str:
    return "".join(chat["messages"][-1]["content"] for chat in chats)


async def test_a_short_text_is_one_engine_call(opened: Open) -> None:
    engine = ChatEngine("Short.")
    told = await summary(await opened(engine), SENTENCE.format(1))
    assert (told["output"], told["pieces"], len(told["calls"])) == ("Short.", 0, 1)
    assert len(engine.asked) == 1


async def test_a_long_text_is_read_whole_in_pieces_and_then_summed_up(opened: Open) -> None:
    engine = ChatEngine(note)
    text = "".join(map(SENTENCE.format, range(60)))
    told = await summary(await opened(engine), text)
    *pieces, last = engine.chats()
    assert told["output"] == "All ships."
    assert told["pieces"] == len(pieces) > 2
    read = told_of(pieces)
    assert all(SENTENCE.format(number).strip() in read for number in range(60))
    notes = last["messages"][-1]["content"]
    assert [f"Ship {number}." in notes for number in (0, 59)] == [True, False]
    assert told["usage"]["completion_tokens"] == 2 * len(engine.chats())


async def test_no_engine_is_ever_asked_for_more_than_its_context(opened: Open) -> None:
    """Which it would refuse: the pieces are counted before they are asked for."""
    engine = ChatEngine(note)
    text = "a" * 900 + " " + "ü" * 900 + " " + "".join(map(SENTENCE.format, range(30)))
    told = await summary(await opened(engine), text)
    assert "error" not in told
    sizes = [sum(len(m["content"].encode()) for m in chat["messages"]) + chat["max_tokens"] for chat in engine.chats()]
    assert max(sizes) <= CONTEXT_TOKENS


async def test_notes_that_are_too_long_together_are_read_in_pieces_again(opened: Open) -> None:
    engine = ChatEngine(lambda chat: "n" * (240 if "part of a longer" in chat["messages"][0]["content"] else 9))
    told = await summary(await opened(engine), "".join(map(SENTENCE.format, range(70))))
    first = [chat for chat in engine.chats() if "number" in chat["messages"][-1]["content"]]
    assert told["output"] == "n" * 9
    assert told["pieces"] > len(first) > 4


async def test_a_stream_says_what_is_read_and_then_streams_the_summary(opened: Open) -> None:
    stand = await opened(ChatEngine(note))
    answer = await summary(stand, "".join(map(SENTENCE.format, range(40))), stream=True)
    first, *_, done = answer.body.decode().split("\n\n")[:-1]
    assert first.startswith(": baryon: summarize: the text is longer than the context")
    assert '"content":"ships. "' in answer.body.decode()
    assert done == "data: [DONE]"


async def test_what_goes_wrong_after_a_stream_has_begun_is_told_in_it(opened: Open) -> None:
    def fail_last(chat: dict[str, Any]) -> str:
        if "notes on the parts" in chat["messages"][0]["content"]:
            raise ConnectionError
        return "note"

    stand = await opened(ChatEngine(fail_last))
    answer = await summary(stand, "".join(map(SENTENCE.format, range(40))), stream=True)
    assert not answer.whole
    assert b'data: {"error":' in answer.body


async def test_a_text_of_more_pieces_than_may_be_is_refused_before_any_is_read(opened: Open) -> None:
    engine = ChatEngine(note)
    told = await summary(await opened(engine), "".join(map(SENTENCE.format, range(3000))))
    assert (told["error"]["code"], told["error"]["param"]) == ("text_too_long", "inputs.text")
    assert not engine.chats()


async def test_notes_that_never_get_shorter_end_with_an_error(opened: Open) -> None:
    engine = ChatEngine(lambda chat: chat["messages"][-1]["content"])
    told = await summary(await opened(engine), "".join(map(SENTENCE.format, range(60))))
    assert told["error"]["code"] == "text_too_long"


async def test_a_long_text_cannot_be_explained(opened: Open) -> None:
    stand = await opened(ChatEngine(note))
    told = await summary(stand, "".join(map(SENTENCE.format, range(40))), explain=True)
    assert told["error"]["param"] == "explain"
