from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.keyring import Keyring
from tests.unit.gateway.harness import OpenStand, Stand, stand
from tests.unit.gateway.scripted_engine import Script, ScriptedEngine

StartEngine = Callable[[Script], Awaitable[ScriptedEngine]]


@pytest.fixture
async def start_engine() -> AsyncIterator[StartEngine]:
    engines: list[ScriptedEngine] = []

    async def start(script: Script) -> ScriptedEngine:
        engine = ScriptedEngine(script)
        await engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        await engine.stop()


@pytest.fixture
async def open_stand() -> AsyncIterator[OpenStand]:
    """A gateway in front of the engines given; their replicas are named r0, r1, ..."""
    async with AsyncExitStack() as stack:

        async def start(
            *engines: ScriptedEngine,
            max_in_flight: int = 8,
            settings: GatewaySettings | None = None,
            keyring: Keyring | None = None,
        ) -> Stand:
            opened = stand(engines, max_in_flight, settings or GatewaySettings(), keyring)
            return await stack.enter_async_context(opened)

        yield start
