"""Autoscaling policies by the names that `--policy` takes."""

from functools import partial

from cluster.simulator.scaling.fixed import ExactCapacity, Oracle, Static
from cluster.simulator.scaling.ours import Baryon
from cluster.simulator.scaling.reactive import AibrixApa, DynamoPlanner, RayServe, Wva, keda_waiting, llm_d_slo_keda
from cluster.simulator.scaling.run import ScalerFactory, Site

RAY_TARGETS = (2, 4, 8, 16, 24, 32, 48, 64)


def dynamo_like(site: Site) -> DynamoPlanner:
    return DynamoPlanner(site, ExactCapacity(site).one_rps())


SCALERS: dict[str, ScalerFactory] = {
    "baryon": Baryon,
    "static-peak": partial(Static, peak=True),
    "static-mean": partial(Static, peak=False),
    **{f"ray-serve-{target}": partial(RayServe, target=target) for target in RAY_TARGETS},
    "keda-waiting": keda_waiting,
    "aibrix-apa": AibrixApa,
    "llm-d-wva": Wva,
    "llm-d-slo-keda": llm_d_slo_keda,
    "dynamo-like": dynamo_like,
    "oracle": Oracle,
}
