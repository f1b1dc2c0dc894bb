"""Every routing policy by its name."""

from cluster.simulator.policies.baryon import Baryon
from cluster.simulator.policies.by_cost import DynamoCost, LlmD, LlmDSticky, LMetric
from cluster.simulator.policies.by_load import LeastRequests, PowerOfTwo, RoundRobin
from cluster.simulator.policies.by_tree import (
    AibrixPrefixCache,
    BoundedLoadRing,
    CacheAware,
    RayPrefixAffinity,
    VllmRouter,
)
from cluster.simulator.simulation import PolicyFactory

POLICIES: dict[str, PolicyFactory] = {
    "baryon": Baryon,
    "round-robin": RoundRobin,
    "least-requests": LeastRequests,
    "power-of-two": PowerOfTwo,
    "ray-prefix-affinity": RayPrefixAffinity,
    "sglang-cache-aware": CacheAware,
    "vllm-router-cache-aware": VllmRouter,
    "kubeai-chwbl": BoundedLoadRing,
    "aibrix-prefix-cache": AibrixPrefixCache,
    "llm-d-3-2-2": LlmD,
    "llm-d-sticky": LlmDSticky,
    "dynamo-kv": DynamoCost,
    "lmetric": LMetric,
}
