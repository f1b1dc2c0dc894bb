from tests.unit.gateway.conftest import start_engine

__all__ = ["start_engine"]
