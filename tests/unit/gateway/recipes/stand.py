"""A gateway with an engine of the test's own, and how a test asks its recipes."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.unit.gateway.harness import Answer, Stand, post
from tests.unit.gateway.scripted_engine import Exchange

Script = Callable[[Exchange], Awaitable[None]]
Open = Callable[..., Awaitable[Stand]]
QUESTION = {"inputs": {"question": "Why?"}}


async def ask(stand: Stand, name: str, body: Any, headers: str = "") -> Answer:
    return await stand.ask(post(f"/v1/recipes/{name}", body, headers))
