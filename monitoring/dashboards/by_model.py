"""What the pages that choose models have in common."""

from monitoring import metrics as m
from monitoring.panel import NONE_IS_BAD, SOME_IS_BAD, Query, stat
from monitoring.promql import Scope

MODEL = Scope(("model",))

WAITING_NOW = stat(
    5,
    "Waiting now",
    "Requests that wait at gateways for a replica with room.",
    "none",
    (Query(MODEL.total(m.WAITING)),),
    thresholds=SOME_IS_BAD,
)
REPLICAS_THAT_SERVE = stat(
    6,
    "Replicas that serve",
    "Engines that answered the last scrape.",
    "none",
    (Query(MODEL.total(m.REPLICA_UP)),),
    thresholds=NONE_IS_BAD,
)
