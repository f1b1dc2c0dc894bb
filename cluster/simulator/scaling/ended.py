"""Requests of a run that have come to their end: two numbers of each, so that days of them fit."""

import math
from array import array
from collections.abc import Iterable

from cluster.simulator.request import SimulatedRequest
from cluster.simulator.scaling.snapshot import tpot_ms, ttft_ms
from deployments.gateway.routing.score import Slo


class Ended:
    """`ttft_ms` and `tpot_ms` of those that finished, in the same order; `failed`: how many others."""

    def __init__(self) -> None:
        self.ttft_ms = array("d")
        self.tpot_ms = array("d")
        self.failed = 0

    def add(self, requests: Iterable[SimulatedRequest]) -> None:
        for request in requests:
            if math.isnan(request.finished_ms):
                self.failed += 1
            else:
                self.ttft_ms.append(ttft_ms(request))
                self.tpot_ms.append(tpot_ms(request))

    def kept(self, slo: Slo) -> int:
        """How many met the SLO."""
        pairs = zip(self.ttft_ms, self.tpot_ms, strict=True)
        return sum(ttft <= slo.ttft_ms and tpot <= slo.tpot_ms for ttft, tpot in pairs)
