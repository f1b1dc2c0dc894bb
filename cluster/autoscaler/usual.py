"""What an average request takes, over all that come in the time of a horizon: gateways remember fewer, and a mean of
few moves by chance alone, and the count of replicas with it.
"""

from dataclasses import replace

from cluster.autoscaler.demand import Demand, mean_shape, mean_speed


class Usual:
    """Told at each look; what it knows is weighted by the requests that it was learned from."""

    def __init__(self) -> None:
        self._last: Demand | None = None
        self._requests = 0.0

    def of(self, demand: Demand, requests_of_horizon: float) -> Demand:
        """The same demand, with the shape and speed of the last `requests_of_horizon` instead of its own."""
        arrived = float(demand.arrived_requests)
        if self._last is not None and self._requests:
            weights = (min(self._requests, max(0.0, requests_of_horizon - arrived)), arrived)
            if sum(weights):
                demand = replace(
                    demand,
                    shape=mean_shape((self._last.shape, demand.shape), weights),
                    speed=mean_speed((self._last.speed, demand.speed), weights),
                )
                arrived += weights[0]
        self._last, self._requests = demand, arrived
        return demand
