from pathlib import Path
from typing import Any

import pytest

from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import OpenStand, Stand
from tests.unit.gateway.recipes.stand import Open, Script


@pytest.fixture
def opened(start_engine: StartEngine, open_stand: OpenStand) -> Open:
    async def start(script: Script, folder: Path | None = None, **more: Any) -> Stand:
        settings = GatewaySettings(recipes_folder=str(folder) if folder else None)
        return await open_stand(await start_engine(script), settings=settings, **more)

    return start
