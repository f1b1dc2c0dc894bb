"""Looks at an engine once a second until it has to be replaced."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from engine.engine_process import EngineProcess
from engine.failure import Failure
from engine.health import HealthLimits, after_canary, at_start, judge, observe
from engine.probe import EngineProbe

LOOK_PERIOD_S = 1.0


async def failure_of(engine: EngineProcess, probe: EngineProbe, limits_now: Callable[[], HealthLimits]) -> Failure:
    """Wait until the engine is dead or hung, and say why. The limits may change meanwhile."""
    health = at_start(time.monotonic())
    while not engine.ended.is_set():
        limits = limits_now()
        engine.members()
        health = observe(health, await probe.observe())
        verdict = judge(health, limits, time.monotonic())
        if verdict.action == "replace":
            return Failure("hung", f"The engine hung: {verdict.reason}.")
        if verdict.action == "canary":
            answered = await probe.canary(limits.hang_timeout_s)
            before, health = health, observe(health, await probe.observe())
            if not answered and health.steps == before.steps and not engine.ended.is_set():
                return Failure("hung", f"An idle engine did not generate one token in {limits.hang_timeout_s:.0f} s.")
            health = after_canary(health, time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(engine.ended.wait(), LOOK_PERIOD_S)
    return engine.failure()
