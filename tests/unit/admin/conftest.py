import pytest

from deployments.admin import peers
from tests.unit.gateway.conftest import start_engine

__all__ = ["start_engine"]


@pytest.fixture(autouse=True)
def _gateways_have_time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine one and a half seconds can pass before a neighbour is asked at all."""
    monkeypatch.setattr(peers, "ANSWER_TIMEOUT_S", 30.0)
