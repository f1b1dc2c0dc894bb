"""What KubeRay's operator (1.7.0) refuses of a RayService and its CRD's schema does not say, in our words."""

import re
from collections.abc import Iterator
from typing import Any

SIZES = {"num-cpus", "num-gpus", "memory", "resources"}
PORT_OF_SERVICE = "serve"
TIMEOUT = "ray.io/initializing-timeout"
DURATION = re.compile(r"(?=.*[1-9])(\d+|(\d+(\.\d+)?(ns|us|ms|s|m|h))+)")
OF_REDIS = {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS"}
OF_FAULT_TOLERANCE = {"ray.io/ft-enabled", "ray.io/external-storage-namespace"}

Document = dict[str, Any]


def broken_rules(service: Document) -> list[str]:
    cluster = service["spec"]["rayClusterConfig"]
    found = [
        *_name(service),
        *_upgrade(service["spec"]),
        *_authentication(cluster),
        *_groups(cluster),
        *_redis(service),
    ]
    return [*found, *_head(cluster), *_of_gates(cluster)]


def _name(service: Document) -> Iterator[str]:
    name = service["metadata"]["name"]
    if len(name) > 47 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"the name {name}"
    timeout = service["metadata"].get("annotations", {}).get(TIMEOUT, "1m")
    if not DURATION.fullmatch(timeout):
        yield f"{TIMEOUT} {timeout}"
    head_service = service["spec"]["rayClusterConfig"]["headGroupSpec"].get("headService", {})
    if head_service.get("metadata", {}).get("name"):
        yield "headService has a name"


def _upgrade(spec: Document) -> Iterator[str]:
    strategy = spec.get("upgradeStrategy", {})
    if strategy.get("type") != "NewClusterWithIncrementalUpgrade":
        return
    options = strategy["clusterUpgradeOptions"]
    if not spec["rayClusterConfig"].get("enableInTreeAutoscaling"):
        yield "an incremental upgrade without the autoscaler"
    if not 0 <= options["stepSizePercent"] <= options["maxSurgePercent"] <= 100:
        yield "stepSizePercent and maxSurgePercent"
    if options["intervalSeconds"] <= 0 or not options["gatewayClassName"]:
        yield "intervalSeconds or gatewayClassName"


def _authentication(cluster: Document) -> Iterator[str]:
    options = cluster.get("authOptions", {})
    if options.get("mode") == "token":
        version = tuple(int(part) for part in cluster["rayVersion"].split("."))
        if version < (2, 52, 0):
            yield f"a token with Ray {cluster['rayVersion']}"
        if options.get("enableK8sTokenAuth"):
            yield "enableK8sTokenAuth of a RayService"


def _head(cluster: Document) -> Iterator[str]:
    """Before 1.7 it makes no service for Serve, and never finds the RayService ready, without a port of that name."""
    container = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    if PORT_OF_SERVICE not in [port["name"] for port in container.get("ports", ())]:
        yield "the head has no port named serve"
    environment = {one["name"] for one in container.get("env", ())}
    if "REDIS_USERNAME" in environment:
        yield "a Redis user in the environment"
    if "RAY_enable_autoscaler_v2" in environment and "version" in cluster.get("autoscalerOptions", {}):
        yield "the autoscaler's version is said twice"


def _of_gates(cluster: Document) -> Iterator[str]:
    """What its alpha features are needed for, and those are off."""
    for field in ("networkPolicy", "tlsOptions", "historyServerOptions"):
        if field in cluster:
            yield f"{field} without its feature gate"
    if cluster.get("gcsFaultToleranceOptions", {}).get("backend", "redis") == "rocksdb":
        yield "rocksdb without its feature gate"


def _groups(cluster: Document) -> Iterator[str]:
    specs = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for spec in specs:
        at = spec.get("groupName", "head")
        given = set(spec["rayStartParams"])
        if given & SIZES and spec.get("resources"):
            yield f"{at}: sizes in rayStartParams and in resources"
        if "labels" in given:
            yield f"{at}: labels in rayStartParams"
        if spec["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield f"{at}: restartPolicy with autoscaler v2"
        if not spec["template"]["spec"]["containers"][0].get("resources", {}).get("limits"):
            yield f"{at}: the first container has no limits"
    for group in cluster["workerGroupSpecs"]:
        at = group["groupName"]
        if not 0 <= group["minReplicas"] <= group["maxReplicas"] or group.get("suspend"):
            yield f"{at}: replicas"
        if group.get("idleTimeoutSeconds", 0) < 0:
            yield f"{at}: idleTimeoutSeconds"
        of_v2 = group.get("priority") or "idleTimeoutSeconds" in group
        if of_v2 and cluster.get("autoscalerOptions", {}).get("version") != "v2":
            yield f"{at}: idleTimeoutSeconds or priority without autoscaler v2"
    names = [group["groupName"] for group in cluster["workerGroupSpecs"]]
    if len(names) != len(set(names)):
        yield "groups of one name"


def _redis(service: Document) -> Iterator[str]:
    cluster = service["spec"]["rayClusterConfig"]
    head = cluster["headGroupSpec"]
    annotations = {*service["metadata"].get("annotations", ()), *head["template"]["metadata"].get("annotations", ())}
    if "gcsFaultToleranceOptions" not in cluster:
        return
    environment = {one["name"] for one in head["template"]["spec"]["containers"][0].get("env", ())}
    if annotations & OF_FAULT_TOLERANCE or environment & OF_REDIS or "redis-password" in head["rayStartParams"]:
        yield "Redis is said twice"
    options = cluster["gcsFaultToleranceOptions"]
    if options.get("backend", "redis") == "redis" and not options.get("redisAddress"):
        yield "no redisAddress"
