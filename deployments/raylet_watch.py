"""Notices that this process's raylet is gone."""

import asyncio
import os

RAYLET_LOOK_PERIOD_S = 1.0


async def raylet_lost(raylet_pid: int) -> None:
    """Return once the raylet is gone. A worker whose raylet was killed may live on for a while (Ray 2.60)."""
    while os.getppid() == raylet_pid:  # noqa: ASYNC110
        await asyncio.sleep(RAYLET_LOOK_PERIOD_S)
