"""What the requests of one gateway share: models and replicas, the way to them, who waits, and what is used."""

from collections.abc import Callable
from dataclasses import dataclass

from deployments.gateway.catalogue import Catalogue
from deployments.gateway.model_routers import ModelRouters
from deployments.gateway.replica_table import ReplicaTable
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.suspects import Suspects
from deployments.gateway.tenants.spending import Spending
from deployments.gateway.upstream import EnginePool
from deployments.gateway.usage_tally import UsageTally
from deployments.gateway.waiting_room import WaitingRoom


@dataclass(frozen=True, slots=True)
class Backends:
    """One for each gateway."""

    settings: Callable[[], GatewaySettings]
    catalogue: Catalogue
    replicas: ReplicaTable
    routers: ModelRouters
    suspects: Suspects
    pool: EnginePool
    room: WaitingRoom
    spending: Spending
    tally: UsageTally
