"""How long state is silent is known by whoever calls it, also when it is there and hangs."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve

from deployments.state_calls import StateCalls


class Pending(asyncio.Future[str]):
    """What Serve gives for a call."""


class State:
    def __init__(self) -> None:
        self.hangs = False

    def call(self, *_: Any) -> Pending:
        response = Pending()
        if not self.hangs:
            response.set_result("heard")
        return response


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    state = State()
    handle = SimpleNamespace(decisions=SimpleNamespace(remote=state.call))
    monkeypatch.setattr(serve, "get_deployment_handle", lambda *_: handle)
    return state


async def test_a_call_that_hangs_is_silence_and_an_answer_ends_it(state: State) -> None:
    calls = StateCalls()
    await calls.call("decisions", within_s=5)
    before_s = calls.silent_s
    state.hangs = True
    with pytest.raises(TimeoutError):
        await calls.call("decisions", within_s=0.05)
    silent_s = calls.silent_s
    assert silent_s >= before_s + 0.05
    state.hangs = False
    assert await calls.call("decisions", within_s=5) == "heard"
    assert calls.silent_s < silent_s
