"""What KubeRay's operator (1.7.0) refuses of a RayService and its CRD's schema does not say, in our words."""

import re
from collections.abc import Iterator
from typing import Any

SIZES = {"num-cpus", "num-gpus", "memory", "resources"}
OF_REDIS = {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS"}
OF_FAULT_TOLERANCE = {"ray.io/ft-enabled", "ray.io/external-storage-namespace"}

Document = dict[str, Any]


def broken_rules(service: Document) -> list[str]:
    cluster = service["spec"]["rayClusterConfig"]
    return [*_name(service), *_upgrade(service["spec"]), *_authentication(cluster), *_groups(cluster), *_redis(service)]


def _name(service: Document) -> Iterator[str]:
    name = service["metadata"]["name"]
    if len(name) > 47 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"the name {name}"
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
        if not 0 <= group["minReplicas"] <= group["maxReplicas"] or group.get("suspend"):
            yield f"{group['groupName']}: replicas"
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
