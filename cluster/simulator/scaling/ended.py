"""Requests of a run that have come to their end: three numbers of each, so that days of them fit."""

import math
from array import array
from collections.abc import Iterable

from cluster.simulator.request import SimulatedRequest
from cluster.simulator.scaling.snapshot import tpot_ms, ttft_ms
from deployments.gateway.routing.score import Slo


class Ended:
    """`ttft_ms` and `tpot_ms` of those that finished, in the same order; `arrived_ms` of all."""

    def __init__(self) -> None:
        self.arrived_ms = array("d")
        self.ttft_ms = array("d")
        self.tpot_ms = array("d")
        self._finished_arrived_ms = array("d")

    def add(self, requests: Iterable[SimulatedRequest]) -> None:
        for request in requests:
            self.arrived_ms.append(request.arrived_ms)
            if not math.isnan(request.finished_ms):
                self._finished_arrived_ms.append(request.arrived_ms)
                self.ttft_ms.append(ttft_ms(request))
                self.tpot_ms.append(tpot_ms(request))

    def kept_at_ms(self, slo: Slo) -> list[float]:
        """When those arrived that met the SLO."""
        finished = zip(self._finished_arrived_ms, self.ttft_ms, self.tpot_ms, strict=True)
        return [at_ms for at_ms, ttft, tpot in finished if ttft <= slo.ttft_ms and tpot <= slo.tpot_ms]
