"""Schemas of the chart's values that Kubernetes defines, so that a typo in them is refused too.

Those of pods are of KubeRay's own CRD: what it does not know, the API server drops without a word.
`affinity` stays free.
"""

import json
from pathlib import Path
from typing import Any

CRD = Path(__file__).resolve().parents[1] / "tests" / "unit" / "chart" / "kuberay" / "rayservice.strict.schema.json"
KEPT = {"type", "properties", "items", "anyOf", "additionalProperties", "pattern", "enum"}
OF_PODS = {
    "pullSecrets": "imagePullSecrets",
    "podSecurityContext": "securityContext",
    "tolerations": "tolerations",
    "topologySpreadConstraints": "topologySpreadConstraints",
    "volumes": "volumes",
}
OF_CONTAINERS = ("env", "livenessProbe", "readinessProbe", "resources", "securityContext", "volumeMounts")

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
CIDR: Schema = {"type": "string", "pattern": r"^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$"}
HOST: Schema = {
    "type": "string",
    "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}


def of_kubernetes() -> dict[str, Schema]:
    """By the name that the chart's values have for it, wherever it is."""
    pod = _pod()
    container = pod["containers"]["items"]["properties"]
    quantity = container["resources"]["properties"]["limits"]["additionalProperties"]["pattern"]
    return {
        **{name: _kept(pod[theirs]) for name, theirs in OF_PODS.items()},
        **{name: _kept(container[name]) for name in OF_CONTAINERS},
        **dict.fromkeys(("labels", "annotations", "podLabels", "podAnnotations", "nodeSelector"), STRINGS),
        **{name: {"type": "string", "pattern": quantity} for name in ("size", "sizeLimit", "shmSize")},
        "accessModes": _list({"enum": ["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod", "ReadOnlyMany"]}, least=1),
        "hosts": _list(HOST),
        "hostnames": _list(HOST),
        "tls": _list(_object(hosts=_list(HOST), secretName=STRING)),
        "parentRefs": _list(
            _object(group=STRING, kind=STRING, name=STRING, namespace=STRING, port=_integer(), sectionName=STRING)
        ),
        "loadBalancerSourceRanges": _list(CIDR),
        "blockedCidrs": _list(CIDR),
        "gatewayFrom": _list(_peer()),
        "monitoringFrom": _list(_peer()),
        "extraEgress": _list(_object(to=_list(_peer()), ports=_list(_port()))),
        "extraObjects": _list({"type": "object"}),
    }


def _pod() -> Schema:
    schema = json.loads(CRD.read_text())
    for name in ("spec", "rayClusterConfig", "workerGroupSpecs"):
        schema = schema["properties"][name]
    properties: Schema = schema["items"]["properties"]["template"]["properties"]["spec"]["properties"]
    return properties


def _kept(schema: Any) -> Any:
    """Without words, defaults and what refuses a key, which is the templates'."""
    kept = {key: value for key, value in schema.items() if key in KEPT and value is not False}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _kept(kept[key])
    if "properties" in kept:
        kept["properties"] = {name: _kept(one) for name, one in kept["properties"].items()}
    return kept


def _peer() -> Schema:
    requirement = _object(key=STRING, operator=STRING, values=_list(STRING))
    selector = _object(matchLabels=STRINGS, matchExpressions=_list(requirement))
    block = _object(cidr=STRING, **{"except": _list(STRING)})
    return _object(ipBlock=block, namespaceSelector=selector, podSelector=selector)


def _port() -> Schema:
    return _object(port={"type": ["integer", "string"]}, endPort=_integer(), protocol={"enum": ["TCP", "UDP", "SCTP"]})


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _list(item: Schema, *, least: int = 0) -> Schema:
    return {"type": "array", "items": item, **({"minItems": least} if least else {})}


def _integer() -> Schema:
    return {"type": "integer"}
