"""What is safe without a word: each holds for every preset, and not with the value switched off that it is about."""

import base64

import pytest

from deployments.gateway.tenants.api_key import id_of
from tests.unit.chart.helm import Document, groups, one, rendered

PRESETS = [(), ("cpu",), ("single-gpu",), ("multi-gpu",), ("ha",), ("hardened",)]


def all_pods(objects: list[Document]) -> list[Document]:
    return [group["template"]["spec"] for group in groups(objects).values()]


def is_confined(objects: list[Document]) -> bool:
    autoscaler = one(objects, "RayService")["spec"]["rayClusterConfig"]["autoscalerOptions"]
    pods = all_pods(objects)
    contexts = [c.get("securityContext", {}) for p in pods for c in [*p["containers"], *p.get("initContainers", ())]]
    return all(
        c.get("allowPrivilegeEscalation") is False
        and c.get("readOnlyRootFilesystem") is True
        and c.get("capabilities") == {"drop": ["ALL"]}
        for c in [*contexts, autoscaler.get("securityContext", {})]
    )


def is_nobody_in_particular(objects: list[Document]) -> bool:
    contexts = [pod.get("securityContext", {}) for pod in all_pods(objects)]
    return all(c.get("runAsNonRoot") and c.get("seccompProfile") == {"type": "RuntimeDefault"} for c in contexts)


def is_fenced(objects: list[Document]) -> bool:
    policies = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "NetworkPolicy"}
    everybody = policies.get("demo")
    return everybody is not None and everybody["policyTypes"] == ["Ingress", "Egress"]


def blocks_the_metadata_address(objects: list[Document]) -> bool:
    blocks = [
        peer["ipBlock"]
        for o in objects
        if o["kind"] == "NetworkPolicy"
        for rule in o["spec"].get("egress", ())
        for peer in rule.get("to", ())
        if "ipBlock" in peer
    ]
    return all("169.254.0.0/16" in b.get("except", ()) for b in blocks if b["cidr"] == "0.0.0.0/0")


DEFAULTS = [is_confined, is_nobody_in_particular, is_fenced, blocks_the_metadata_address]
SWITCHES: list[tuple[object, Document]] = [
    (is_confined, {"securityContext": {"readOnlyRootFilesystem": False}}),
    (is_confined, {"securityContext": None}),
    (is_nobody_in_particular, {"podSecurityContext": {"runAsNonRoot": False}}),
    (is_fenced, {"networkPolicy": {"enabled": False}}),
    (blocks_the_metadata_address, {"networkPolicy": {"blockedCidrs": []}}),
]


@pytest.mark.parametrize("presets", PRESETS, ids=lambda p: p[0] if p else "default")
@pytest.mark.parametrize("holds", DEFAULTS, ids=lambda f: f.__name__)
def test_it_holds(holds: object, presets: tuple[str, ...]) -> None:
    assert callable(holds)
    assert holds(rendered(presets=presets))


@pytest.mark.parametrize(("holds", "values"), SWITCHES, ids=range(len(SWITCHES)))
def test_the_check_sees_it_switched_off(holds: object, values: Document) -> None:
    assert callable(holds)
    assert not holds(rendered(values))


def test_ray_asks_for_a_token_from_a_secret() -> None:
    objects = rendered()
    options = one(objects, "RayService")["spec"]["rayClusterConfig"]["authOptions"]
    secret = one(objects, "Secret", "demo-ray-token")
    assert options == {"mode": "token", "secretName": secret["metadata"]["name"]}
    assert set(secret["data"]) == {"auth_token"}
    yours = rendered({"auth": {"existingSecret": "mine"}})
    assert "demo-ray-token" not in [o["metadata"]["name"] for o in yours]
    assert one(yours, "RayService")["spec"]["rayClusterConfig"]["authOptions"]["secretName"] == "mine"


def test_workers_have_no_token_of_the_api_server() -> None:
    for name, group in groups(rendered()).items():
        assert name == "head" or group["template"]["spec"]["automountServiceAccountToken"] is False


def test_from_outside_only_the_gateways_port_is_reached() -> None:
    open_ports = {
        (o["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component"), port["port"])
        for o in rendered()
        if o["kind"] == "NetworkPolicy"
        for rule in o["spec"].get("ingress", ())
        if "from" not in rule
        for port in rule["ports"]
    }
    assert open_ports == {("gateway", 8000)}


def test_nothing_outside_leads_to_the_dashboard() -> None:
    objects = rendered({"ingress": {"enabled": True, "hosts": ["a.example"]}})
    backends = [p["backend"]["service"] for r in one(objects, "Ingress")["spec"]["rules"] for p in r["http"]["paths"]]
    assert backends == [{"name": "demo", "port": {"number": 80}}]
    assert one(objects, "Service")["spec"]["ports"][0]["targetPort"] == "gateway"


def test_every_container_has_limits() -> None:
    for pod in all_pods(rendered()):
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_there_is_an_api_key_from_the_start_and_it_is_in_a_secret_alone() -> None:
    objects = rendered()
    secret = one(objects, "Secret", "demo-api-keys")
    key = base64.b64decode(secret["data"]["default"])
    assert id_of(key) is not None
    assert key.decode() not in str([o for o in objects if o["kind"] != "Secret"])
    pod = groups(rendered({"apiKeys": {"existingSecret": "mine"}}))["state"]["template"]["spec"]
    assert {"name": "keys", "secret": {"secretName": "mine"}} in pod["volumes"]
    assert pod["initContainers"][0]["command"][:3] == ["python", "-m", "cluster.key_files"]
