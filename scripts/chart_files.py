"""What the Helm chart takes from the rest: defaults of baryon.yaml, the schema of its values, alerts, dashboards.

Types are in values.schema.json, which Helm checks first. Which keys there are is in files/known_keys.json: a template
refuses others, because Helm's own message cannot name the key that was meant.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from cluster import serve_schema
from cluster.config import RESERVED_APPLICATIONS, THIS_NODE, BaryonConfig, GatewayConfig, ModelConfig
from cluster.kuberay import LOG_FOLDER, STATE_PATH, STORE_FOLDER, surroundings_in_pods
from cluster.placement import CPUS_BESIDE_GPUS, CPUS_PER_WORKER
from cluster.ray_head import OBJECT_STORE_BYTES
from engine.arguments import OWNED, REFUSED, known_flags
from scripts.chart_kubernetes import CIDR, of_kubernetes

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "k8s" / "chart"
THE_CHARTS_OWN = {"host", "port", "processes", "tls", "admin_host", "admin_port"}
ANY_OBJECT: dict[str, Any] = {"type": "object"}
COUNT = {"type": "integer", "minimum": 0}
PORT = {"type": "integer", "minimum": 0, "maximum": 65535}
AT_LEAST_ONE = {"type": "integer", "minimum": 1}
FREE_OR_NULL = {"podSecurityContext", "securityContext"}
MAY_BE_NULL = FREE_OR_NULL | {"tracing", "engineGroups", "gpuProfiles"}
OF_KUBERNETES = of_kubernetes()
FREE = {name for name, schema in OF_KUBERNETES.items() if schema["type"] == "object"}
PARTICULAR: dict[str, Any] = {
    "models": {"type": "array", "items": {"$ref": "#/$defs/ModelConfig"}},
    "tracing": {"anyOf": [{"$ref": "#/$defs/TracingConfig"}, {"type": "null"}]},
    "gateway.maxReplicas": AT_LEAST_ONE,
    "gateway.replicas": {"type": "integer", "minimum": 1, "maximum": 64},
    "gateway.port": {**PORT, "minimum": 1},
    "gateway.service.port": {**PORT, "minimum": 1},
    "gateway.adminPort": PORT,
    "monitoring.port": PORT,
    "monitoring.podMonitor.interval": {"type": "string", "pattern": "^([0-9]+(ms|[smhdwy]))+$"},
    "gateway.service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.repository": {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9._/:-]*[a-z0-9])?$"},
    "image.tag": {"type": "string", "pattern": r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "rayVersion": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"},
    "upgrade.type": {"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]},
    "autoscaler.upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
    "groupDefaults.hosts": AT_LEAST_ONE,
    "groupDefaults.maxReplicas": AT_LEAST_ONE,
    "groupDefaults.priority": {"type": "integer"},
    "networkPolicy.apiServerCidr": CIDR,
    "networkPolicy.apiServerPorts": {"type": "array", "items": {**PORT, "minimum": 1}, "minItems": 1},
    "gateway.tls": {"type": "object", "properties": {"existingSecret": {"type": "string"}}},
    "gpuProfiles.nvidia.resourceName": {"type": "string", "pattern": r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$"},
}


def main() -> None:
    for path, text in chart_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def chart_files() -> dict[Path, str]:
    schema = values_schema(yaml.safe_load((CHART / "values.yaml").read_text()))
    folder = CHART / "files"
    boards = {folder / "dashboards" / path.name: path.read_text() for path in _dashboards()}
    return {
        CHART / "values.schema.json": _json(_open(schema)),
        folder / "known_keys.json": _json(known_keys(schema, schema["$defs"])),
        folder / "no_nulls.json": _json(no_nulls(yaml.safe_load((CHART / "values.yaml").read_text()))),
        folder / "serve.json": _json(serve_defaults()),
        folder / "engine_args.json": _json(engine_arguments()),
        folder / "alerts.yaml": (ROOT / "monitoring" / "alerts" / "baryon.yaml").read_text(),
        **boards,
    }


def serve_defaults() -> dict[str, Any]:
    """What `serve_schema` puts where a model or the gateway says nothing, and its constants."""
    where = surroundings_in_pods({}, "")
    model = ModelConfig(name="m", source="/m").model_dump(mode="json")
    return {
        "gateway": GatewayConfig().model_dump(mode="json"),
        "model": {**{k: v for k, v in model.items() if k != "name"}, "source": "", "replicas": {"min": 1}},
        "reserved": sorted(RESERVED_APPLICATIONS),
        "cpus": {"beside_gpus": CPUS_BESIDE_GPUS, "per_worker": CPUS_PER_WORKER},
        "paths": {
            "state": str(STATE_PATH),
            "store": str(STORE_FOLDER),
            "logs": str(LOG_FOLDER),
            "metrics": str(where.metrics_folder),
        },
        "this_node": THIS_NODE,
        "object_store_bytes": OBJECT_STORE_BYTES,
        "router": serve_schema.ROUTER_PATH,
        "policy": serve_schema.POLICY_PATH,
        "max_ongoing_requests": serve_schema.MAX_ONGOING_REQUESTS,
        "health_check_period_s": serve_schema.HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": serve_schema.HEALTH_CHECK_TIMEOUT_S,
        "gateway_drain_s": serve_schema.GATEWAY_DRAIN_S,
        "is_idle_again_after_s": serve_schema.IS_IDLE_AGAIN_AFTER_S,
        "state_stops_within_s": serve_schema.STATE_STOPS_WITHIN_S,
        "stop_margin_s": serve_schema.STOP_MARGIN_S,
        "group_share": serve_schema.GROUP_SHARE,
        "group_prefix": serve_schema.group_resource(""),
        "gateway_node": serve_schema.GATEWAY_NODE,
        "state_node": serve_schema.STATE_NODE,
        "needs_a_new_gateway": sorted(serve_schema.NEEDS_A_NEW_GATEWAY),
    }


def engine_arguments() -> dict[str, Any]:
    """What `problem_with` knows of them."""
    flags = known_flags()
    return {
        "known": sorted(flags),
        "booleans": sorted(name for name, flag in flags.items() if flag.boolean),
        "choices": {name: list(flag.choices) for name, flag in flags.items() if flag.choices},
        "owned": dict(OWNED),
        "refused": dict(REFUSED),
    }


def values_schema(defaults: dict[str, Any]) -> dict[str, Any]:
    definitions = BaryonConfig.model_json_schema()["$defs"]
    of_gateway = definitions.pop("GatewayConfig")
    settings = {name: of for name, of in of_gateway["properties"].items() if name not in THE_CHARTS_OWN}
    schema = _of_value(defaults, "")
    sections = schema["properties"]
    sections["gateway"]["properties"]["settings"] = {**of_gateway, "properties": settings}
    sections["engineGroups"] = {"type": "object", "additionalProperties": sections["groupDefaults"]}
    one_profile = sections["gpuProfiles"]["properties"]["nvidia"]
    sections["gpuProfiles"] = {"type": "object", "additionalProperties": one_profile}
    sections["global"] = ANY_OBJECT
    definitions["ModelConfig"]["properties"]["name"]["pattern"] = "^[A-Za-z0-9_./:@+-]+$"
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "$defs": {**definitions, **OF_KUBERNETES}}


def known_keys(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """Null where anything goes; `*` for whatever name an entry has, `[]` for each of a list."""
    if "$ref" in schema:
        return known_keys(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for one in schema.get("anyOf", ()):
        if (inner := known_keys(one, definitions)) is not None:
            return inner
    if "properties" in schema:
        return {name: known_keys(inner, definitions) for name, inner in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        inner = known_keys(schema["additionalProperties"], definitions)
        return None if inner is None else {"*": inner}
    if "items" in schema:
        inner = known_keys(schema["items"], definitions)
        return None if inner is None else {"[]": inner}
    return None


def no_nulls(defaults: dict[str, Any]) -> dict[str, Any]:
    """Values that Helm takes away where a user writes null, and that templates need."""
    return {
        key: no_nulls(value) if isinstance(value, dict) and key not in FREE else {}
        for key, value in defaults.items()
        if key not in MAY_BE_NULL
    }


def _of_value(value: Any, path: str) -> dict[str, Any]:
    name = path.rpartition(".")[2]
    if path in PARTICULAR:
        return dict(PARTICULAR[path])
    if name in OF_KUBERNETES:
        kubernetes = {"$ref": f"#/$defs/{name}"}
        return {"anyOf": [kubernetes, {"type": "null"}]} if name in FREE_OR_NULL else kubernetes
    if isinstance(value, dict):
        if not value:
            return ANY_OBJECT
        inner = {key: _of_value(one, f"{path}.{key}".lstrip(".")) for key, one in value.items()}
        return {"type": "object", "properties": inner}
    if isinstance(value, bool):
        return {"type": "boolean"}
    return COUNT if isinstance(value, int) else {"type": "string"}


def _open(schema: Any) -> Any:
    """Without what refuses a key or asks for one, which is the templates'."""
    if isinstance(schema, dict):
        return {
            k: _open(v)
            for k, v in schema.items()
            if not ((k == "additionalProperties" and v is False) or (k == "required" and isinstance(v, list)))
        }
    return [_open(one) for one in schema] if isinstance(schema, list) else schema


def _dashboards() -> list[Path]:
    return sorted((ROOT / "monitoring" / "dashboards").glob("*.json"))


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    main()
