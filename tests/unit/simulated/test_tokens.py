"""Tokens by id of the simulated engine: what a recipe reads works on it as on a real one."""

from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.guard import TOKENS_ROUTE
from engine.simulated.api import SimulatedApi
from engine.simulated.core import SimulatedEngine
from engine.simulated.profiles import get_profile
from engine.simulated.tokens import standing_for, text_of, token_ids
from engine.simulated.words import count_tokens
from tests.unit.engine.loopback import serving

GENERATE = TOKENS_ROUTE.decode()
QUESTION = {"role": "user", "content": "Is it good?"}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    simulated = SimulatedEngine(get_profile("llama-3.1-8b-h100-tp1"), 64, 8192, 64)
    async with (
        serving(SimulatedApi(simulated, "m", 4096).app()) as served,
        httpx.AsyncClient(base_url=served.url, timeout=8) as http,
    ):
        yield http


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
def test_tokens_turn_back_into_their_text(text: str) -> None:
    assert text_of(token_ids(text)) == text
    assert len(token_ids(text)) == count_tokens(text)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1), st.lists(st.integers(0, 2**32 - 1)))
def test_what_stands_for_tokens_counts_as_many_and_begins_alike(tokens: list[int], more: list[int]) -> None:
    assert count_tokens(standing_for(tokens)) == len(tokens)
    assert standing_for([*tokens, *more]).startswith(standing_for(tokens))


async def test_asked_for_log_probabilities_come_back_and_are_the_same_again(http: httpx.AsyncClient) -> None:
    body = {"token_ids": [1, 2, 3], "sampling_params": {"max_tokens": 1, "logprobs": 2, "logprob_token_ids": [7, 9]}}
    first, second = [(await http.post(GENERATE, json=body)).json() for _ in range(2)]
    read = first["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert [entry["token_id"] for entry in read] == [7, 9]
    assert all(entry["logprob"] < 0 for entry in read)
    assert first["choices"] == second["choices"]
    assert first["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


async def test_prompt_log_probabilities_have_an_entry_for_each_token_but_the_first(http: httpx.AsyncClient) -> None:
    body = {"token_ids": [1, 2, 3], "sampling_params": {"max_tokens": 1, "prompt_logprobs": 0}}
    told = (await http.post(GENERATE, json=body)).json()["prompt_logprobs"]
    assert told[0] is None
    assert [list(entry) for entry in told[1:]] == [["2"], ["3"]]


async def test_an_answer_that_is_begun_is_a_prefix_of_one_that_goes_on(http: httpx.AsyncClient) -> None:
    begun = {"messages": [QUESTION]}
    going_on = {
        "messages": [QUESTION, {"role": "assistant", "content": "yes"}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
    texts = [text_of((await http.post("/tokenize", json=body)).json()["tokens"]) for body in (begun, going_on)]
    assert texts[1] == texts[0] + "yes"


async def test_no_tokens_are_refused(http: httpx.AsyncClient) -> None:
    assert (await http.post(GENERATE, json={"sampling_params": {"max_tokens": 1}})).status_code == 400
