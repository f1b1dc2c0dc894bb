"""What an autoscaling run is, and the row it comes to."""

from dataclasses import dataclass

from cluster.simulator.scaling.run import ScalerFactory, ScalingRow, ScalingRun
from cluster.simulator.scaling.workload import Workload


@dataclass(frozen=True, slots=True)
class Run:
    """One policy on one seed of a workload."""

    policy: str
    factory: ScalerFactory
    workload: Workload
    seed: int


def row_of(run: Run) -> ScalingRow:
    """Raises:
    TraceError: the trace cannot be read to its end.
    """
    return ScalingRun(run.workload, run.factory, run.seed).row(run.policy)
