"""Policies by the names that `--policy` takes."""

import difflib

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


class PolicyError(ValueError):
    """There is no policy of this name; the message has the nearest ones."""


def policies_named(names: str) -> dict[str, PolicyFactory]:
    """The policies of a comma-separated list; `all` is every one.

    Raises:
        PolicyError: one of them does not exist.
    """
    if names == "all":
        return dict(POLICIES)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in POLICIES:
            near = difflib.get_close_matches(name, POLICIES, n=3, cutoff=0.3)
            hint = f"nearest: {', '.join(near)}; " if near else ""
            raise PolicyError(f"there is no policy {name!r}; {hint}valid: all, {', '.join(POLICIES)}")
    if not wanted:
        raise PolicyError(f"no policy is named; valid: all, {', '.join(POLICIES)}")
    return {name: POLICIES[name] for name in wanted}
