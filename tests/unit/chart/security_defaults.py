"""What the chart keeps safe without a word: of each, whether rendered objects have it, and how it is switched off."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from tests.unit.chart.helm import Document, groups, one

LONG_LOAD_S = 600
METADATA = ip_address("169.254.169.254")

Objects = list[Document]


@dataclass(frozen=True, slots=True)
class Edit:
    """Of a template, where no value switches it off."""

    template: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Default:
    holds: Callable[[Objects], bool]
    off: Document | Edit


def pods(objects: Objects) -> Iterator[Document]:
    """Each pod's spec, Jobs' too."""
    yield from (group["template"]["spec"] for group in groups(objects).values())
    yield from (o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Job")


def containers(objects: Objects) -> Iterator[Document]:
    for pod in pods(objects):
        yield from [*pod["containers"], *pod.get("initContainers", ())]
    yield _cluster(objects)["autoscalerOptions"]


def in_containers(name: str, value: object) -> Callable[[Objects], bool]:
    return lambda objects: all(c.get("securityContext", {}).get(name) == value for c in containers(objects))


def in_pods(name: str, value: object) -> Callable[[Objects], bool]:
    return lambda objects: all(pod.get("securityContext", {}).get(name) == value for pod in pods(objects))


def has_high_user(objects: Objects) -> bool:
    return all(pod.get("securityContext", {}).get("runAsUser", 0) >= 10000 for pod in pods(objects))


def ray_asks_for_a_token(objects: Objects) -> bool:
    options = _cluster(objects).get("authOptions", {})
    return options.get("mode") == "token" and bool(options.get("secretName"))


def every_pod_is_fenced(objects: Objects) -> bool:
    """One policy is for all pods of the release, both ways."""
    return any(
        set(o["spec"]["podSelector"]["matchLabels"]) == {"app.kubernetes.io/instance", "app.kubernetes.io/part-of"}
        and o["spec"]["policyTypes"] == ["Ingress", "Egress"]
        for o in _policies(objects)
    )


def outside_reaches_the_gateway_alone(objects: Objects) -> bool:
    """Of rules for the gateway's clients, whoever they are: one port of one component."""
    component = "app.kubernetes.io/component"
    open_to = {
        (o["spec"]["podSelector"]["matchLabels"].get(component), port["port"])
        for o in _policies(objects)
        for rule in o["spec"].get("ingress", ())
        for port in rule.get("ports", [{"port": "any"}])
        if o["metadata"]["name"].endswith("-gateway") or not rule.get("from")
    }
    return open_to == {("gateway", 8000)}


def blocks_the_metadata_address(objects: Objects) -> bool:
    blocks = [
        peer["ipBlock"]
        for o in _policies(objects)
        for rule in o["spec"].get("egress", ())
        for peer in rule.get("to", ())
        if "ipBlock" in peer
    ]
    return bool(blocks) and not any(_has(b["cidr"]) and not any(map(_has, b.get("except", ()))) for b in blocks)


def _has(cidr: str) -> bool:
    return METADATA in ip_network(cidr)


def nothing_leads_to_the_dashboard(objects: Objects) -> bool:
    """Every Service of the chart is the gateways', and whatever routes has such a Service behind it."""
    services = [o for o in objects if o["kind"] == "Service"]
    gateways = all(
        o["spec"]["selector"].get("app.kubernetes.io/component") == "gateway"
        and [port["targetPort"] for port in o["spec"]["ports"]] == ["gateway"]
        for o in services
    )
    backends = {p["backend"]["service"]["name"] for p in _ingress_paths(objects)}
    return gateways and backends <= {o["metadata"]["name"] for o in services}


def api_keys_are_from_a_secret(objects: Objects) -> bool:
    """State takes them from it before it starts."""
    state = groups(objects)["state"]["template"]["spec"]
    commands = [c["command"][:3] for c in state.get("initContainers", ())]
    volumes = [v["secret"]["secretName"] for v in state["volumes"] if v["name"] == "keys" and "secret" in v]
    return commands == [["python", "-m", "cluster.key_files"]] and len(volumes) == 1


def secrets_are_no_environment(objects: Objects) -> bool:
    """But for Ray's and Redis' own, which KubeRay puts there itself."""
    return not any("valueFrom" in one for c in containers(objects) for one in c.get("env", ()))


def everything_has_limits(objects: Objects) -> bool:
    return all({"cpu", "memory"} <= set(c.get("resources", {}).get("limits", ())) for c in containers(objects))


def a_long_load_is_no_failure(objects: Objects) -> bool:
    """An engine's pod is ready once its raylet is, and nothing ends it while a model loads."""
    of_engines = [g["template"]["spec"]["containers"][0] for g in groups(objects).values() if _is_engine(g)]
    return all(
        c["readinessProbe"]["httpGet"]["path"] == "/api/local_raylet_healthz" and _patience_s(c) >= LONG_LOAD_S
        for c in of_engines
    )


def budgets_are_integers(objects: Objects) -> bool:
    specs = [o["spec"] for o in objects if o["kind"] == "PodDisruptionBudget"]
    return all(type(s.get("minAvailable")) is int and "maxUnavailable" not in s for s in specs)


def pods_outlive_their_drain(objects: Objects) -> bool:
    """So does the old cluster after a switch."""
    waits = []
    for group in groups(objects).values():
        pod = group["template"]["spec"]
        command = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        if command is None:
            return False
        waits.append(int(command[-1]))
        if pod.get("terminationGracePeriodSeconds", 30) <= waits[-1]:
            return False
    return bool(one(objects, "RayService")["spec"]["rayClusterDeletionDelaySeconds"] > max(waits))


def only_the_head_has_a_token_of_the_api_server(objects: Objects) -> bool:
    account = one(objects, "ServiceAccount")
    return account.get("automountServiceAccountToken") is False and all(
        group["template"]["spec"].get("automountServiceAccountToken") is False
        for name, group in groups(objects).items()
        if name != "head"
    )


DEFAULTS: dict[str, Default] = {
    "non-root": Default(in_pods("runAsNonRoot", True), {"podSecurityContext": {"runAsNonRoot": False}}),
    "a user of no host": Default(has_high_user, {"podSecurityContext": {"runAsUser": 1000}}),
    "seccomp": Default(in_pods("seccompProfile", {"type": "RuntimeDefault"}), {"podSecurityContext": None}),
    "no escalation": Default(
        in_containers("allowPrivilegeEscalation", False), {"securityContext": {"allowPrivilegeEscalation": True}}
    ),
    "capabilities": Default(
        in_containers("capabilities", {"drop": ["ALL"]}), {"securityContext": {"capabilities": {"drop": []}}}
    ),
    "read-only root": Default(
        in_containers("readOnlyRootFilesystem", True), {"securityContext": {"readOnlyRootFilesystem": False}}
    ),
    "ray token": Default(ray_asks_for_a_token, Edit("rayservice.yaml", "mode: token", "mode: disabled")),
    "network policies": Default(every_pod_is_fenced, {"networkPolicy": {"enabled": False}}),
    "gateway alone": Default(
        outside_reaches_the_gateway_alone,
        Edit("networkpolicies.yaml", "- ports: [{port: {{ int .Values.gateway.port }}, protocol: TCP}]", "- {}"),
    ),
    "metadata address": Default(blocks_the_metadata_address, {"networkPolicy": {"blockedCidrs": []}}),
    "no way to the dashboard": Default(
        nothing_leads_to_the_dashboard, Edit("service.yaml", "targetPort: gateway", "targetPort: dashboard")
    ),
    "api keys": Default(
        api_keys_are_from_a_secret, Edit("_small_groups.tpl", '"initContainers" (list', '"nothing" (list')
    ),
    "no secret in environment": Default(
        secrets_are_no_environment,
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
    ),
    "limits": Default(everything_has_limits, {"gateway": {"resources": {"limits": {"memory": None}}}}),
    "long loads": Default(
        a_long_load_is_no_failure,
        {"groupDefaults": {"livenessProbe": {"httpGet": {"path": "/", "port": 1}, "failureThreshold": 3}}},
    ),
    "integer budget": Default(
        budgets_are_integers,
        Edit("poddisruptionbudget.yaml", "minAvailable: {{ int .minAvailable }}", "maxUnavailable: 50%"),
    ),
    "graceful termination": Default(
        pods_outlive_their_drain,
        Edit("_pods.tpl", "terminationGracePeriodSeconds: {{ add (int $values.drain.seconds) 60 }}", ""),
    ),
    "drain before termination": Default(pods_outlive_their_drain, Edit("_pods.tpl", "preStop:\n", "postStart:\n")),
    "old cluster's end": Default(
        pods_outlive_their_drain,
        Edit("rayservice.yaml", "{{ add (int .Values.drain.seconds) 60 }}", "60"),
    ),
    "api server's token": Default(
        only_the_head_has_a_token_of_the_api_server,
        Edit("_pods.tpl", "automountServiceAccountToken: false", "automountServiceAccountToken: true"),
    ),
}


def _cluster(objects: Objects) -> Document:
    cluster: Document = one(objects, "RayService")["spec"]["rayClusterConfig"]
    return cluster


def _policies(objects: Objects) -> list[Document]:
    return [o for o in objects if o["kind"] == "NetworkPolicy"]


def _ingress_paths(objects: Objects) -> Iterator[dict[str, Any]]:
    for ingress in (o for o in objects if o["kind"] == "Ingress"):
        for rule in ingress["spec"]["rules"]:
            yield from rule["http"]["paths"]


def _is_engine(group: Document) -> bool:
    return bool(group["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "engine")


def _patience_s(container: Document) -> int:
    """Without a probe of the chart's KubeRay puts one that waits ten minutes."""
    probe = container.get("livenessProbe")
    return LONG_LOAD_S if probe is None else int(probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10))
