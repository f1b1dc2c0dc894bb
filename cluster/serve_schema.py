"""From `baryon.yaml` to the one document that Ray Serve is given: everything that shall run, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.audited import without_secrets
from cluster.config import BaryonConfig, ModelConfig, TracingConfig, application_name
from cluster.placement import nodes_per_replica, replica_resources, replica_shape
from engine.launch import Device

ROUTER_PATH = "deployments.membership_router:MembershipRouter"
POLICY_PATH = "deployments.scaling_policy:ScalingPolicy"
SMALL_CPUS = 0.05
MAX_ONGOING_REQUESTS = 100_000
HEALTH_CHECK_PERIOD_S = 1.0
HEALTH_CHECK_TIMEOUT_S = 30.0
IS_IDLE_AGAIN_AFTER_S = 0.2
STATE_STOPS_WITHIN_S = 2.0
GATEWAY_DRAIN_S = 145.0
STOP_MARGIN_S = 20.0
GATEWAY_NODE = "baryon_gateway"
STATE_NODE = "baryon_state"
GROUP_SHARE = 0.001
NEEDS_A_NEW_GATEWAY = {"host", "port", "processes", "tls", "admin_host", "admin_port"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where things are on the machines that run this cluster. `engine_host` is the address engines listen on.

    `largest_node_gpus` says which replicas span nodes, `gpus_by_group` if a model has a `node_group`. With `own_nodes`
    state and each gateway have a node to themselves, which Ray knows by a resource. `changed_by`: for the audit log."""

    state_path: Path
    store_folder: Path
    log_folder: Path
    engine_host: str
    auto_device: Device
    largest_node_gpus: float
    changed_by: str = "unknown"
    own_nodes: bool = False
    gpus_by_group: Mapping[str, float] = field(default_factory=dict)

    def gpus_of_a_node(self, model: ModelConfig) -> float:
        return self.gpus_by_group.get(model.node_group or "", self.largest_node_gpus)

    @property
    def metrics_folder(self) -> Path:
        """Where processes keep what they count, on each node's own disk."""
        return self.state_path.with_name("metrics")


def serve_schema(config: BaryonConfig, where: Surroundings) -> dict[str, Any]:
    """A document for `ServeDeploySchema`. An application that is left out is deleted by Serve.

    `args` hold only what needs a new process; limits and SLOs are in `user_config`, counts in `autoscaling_config`, and
    Serve changes both in place.
    """
    return {
        "proxy_location": "Disabled",
        "http_options": {"host": "127.0.0.1"},
        "logging_config": {"encoding": "JSON"},
        "applications": [
            _state(config, where),
            *(_model(model, config.tracing, where) for model in config.models),
            _gateway(config, where),
        ],
    }


def device_of(model: ModelConfig, auto: Device) -> Device:
    """`auto` is a GPU where the cluster has one; a simulated engine needs none unless it is told to reserve it."""
    if model.device != "auto":
        return model.device
    return "cpu" if model.engine == "simulated" else auto


def _state(config: BaryonConfig, where: Surroundings) -> dict[str, Any]:
    return {
        "name": "state",
        "import_path": "deployments.applications:state",
        "route_prefix": None,
        "args": {"path": str(config.state.path or where.state_path), "metrics_folder": str(where.metrics_folder)},
        "deployments": [
            {
                "name": "State",
                "num_replicas": 1,
                "max_ongoing_requests": MAX_ONGOING_REQUESTS,
                "ray_actor_options": _small(where, STATE_NODE),
                "health_check_period_s": HEALTH_CHECK_PERIOD_S,
                "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
                "graceful_shutdown_wait_loop_s": IS_IDLE_AGAIN_AFTER_S,
                "graceful_shutdown_timeout_s": STATE_STOPS_WITHIN_S,
                "user_config": {
                    "models": [_card(model, where) for model in config.models],
                    "gateway": without_secrets(config.gateway.model_dump(mode="json")),
                    "changed_by": where.changed_by,
                    "exporters": _exporters(config, where),
                    "limits": {
                        "max_gpus": config.ray.max_gpus,
                        "reserved_cpus": 0.0 if where.own_nodes else SMALL_CPUS * (config.gateway.processes + 1),
                    },
                },
            }
        ],
    }


def _small(where: Surroundings, node: str) -> dict[str, Any]:
    return {"num_cpus": 0, "resources": {node: 1}} if where.own_nodes else {"num_cpus": SMALL_CPUS}


def _card(model: ModelConfig, where: Surroundings) -> dict[str, Any]:
    """What the catalogue says of a model: to clients, and to the autoscaler."""
    device = device_of(model, where.auto_device)
    shape = replica_shape(model, device, nodes_per_replica(model, device, where.gpus_of_a_node(model)))
    return {
        "name": model.name,
        "application": application_name(model.name),
        "engine": model.engine,
        "source": model.source,
        "slo": model.slo.model_dump(),
        "max_model_len": model.engine_args.get("max_model_len"),
        "replicas": model.replicas.model_dump(),
        "wake": model.wake.model_dump() if model.replicas.min == 0 else None,
        "priority": model.priority,
        "needs": {"GPU": sum(gpus for gpus, _ in shape.bundles), "CPU": sum(cpus for _, cpus in shape.bundles)},
        "drain_timeout_s": model.drain_timeout_s,
        "settings": without_secrets(model.model_dump(mode="json")),
    }


def _exporters(config: BaryonConfig, where: Surroundings) -> dict[str, Any]:
    """In pods a NetworkPolicy says who may scrape: Prometheus is in a pod of its own."""
    return {**config.monitoring.model_dump(), **({"host": "0.0.0.0"} if where.own_nodes else {})}  # noqa: S104


def _gateway(config: BaryonConfig, where: Surroundings) -> dict[str, Any]:
    gateway = config.gateway
    admin = {"host": gateway.admin_host, "port": gateway.admin_port, "private_host": where.engine_host}
    return {
        "name": "gateway",
        "import_path": "deployments.applications:gateway",
        "route_prefix": None,
        "args": {
            "host": gateway.host,
            "port": gateway.port,
            "metrics_folder": str(where.metrics_folder),
            "tls": {name: str(path.absolute()) for name, path in gateway.tls} if gateway.tls else None,
            "admin": admin if gateway.admin_port else None,
        },
        "deployments": [
            {
                "name": "Gateway",
                "num_replicas": gateway.processes,
                "max_ongoing_requests": MAX_ONGOING_REQUESTS,
                "ray_actor_options": _small(where, GATEWAY_NODE),
                **({"max_replicas_per_node": 1} if where.own_nodes else {}),
                "health_check_period_s": HEALTH_CHECK_PERIOD_S,
                "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
                "graceful_shutdown_wait_loop_s": IS_IDLE_AGAIN_AFTER_S,
                "graceful_shutdown_timeout_s": GATEWAY_DRAIN_S,
                "max_surge_percent": 100,
                "user_config": {
                    **gateway.model_dump(exclude=NEEDS_A_NEW_GATEWAY),
                    "tracing": config.tracing.model_dump() if config.tracing else None,
                },
            }
        ],
    }


def _model(model: ModelConfig, tracing: TracingConfig | None, where: Surroundings) -> dict[str, Any]:
    device = device_of(model, where.auto_device)
    nodes = nodes_per_replica(model, device, where.gpus_of_a_node(model))
    resources = _in_group(model.node_group, replica_resources(model, device, nodes))
    return {
        "name": application_name(model.name),
        "import_path": "deployments.applications:model",
        "route_prefix": None,
        "args": {
            **_replica_settings(model, device, where),
            "nodes_per_replica": nodes,
            "trace_endpoint": tracing.endpoint if tracing else None,
        },
        "deployments": [
            {
                "name": "Replica",
                "max_ongoing_requests": MAX_ONGOING_REQUESTS,
                "health_check_period_s": HEALTH_CHECK_PERIOD_S,
                "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
                "graceful_shutdown_wait_loop_s": IS_IDLE_AGAIN_AFTER_S,
                "graceful_shutdown_timeout_s": model.drain_timeout_s + STOP_MARGIN_S,
                "max_surge_percent": 100,
                "request_router_config": {"request_router_class": ROUTER_PATH},
                "user_config": {
                    "slo": model.slo.model_dump(),
                    "hang_timeout_s": model.hang_timeout_s,
                    "drain_timeout_s": model.drain_timeout_s,
                },
                "autoscaling_config": {
                    "min_replicas": model.replicas.min,
                    "max_replicas": model.replicas.max,
                    "upscale_delay_s": 0,
                    "downscale_delay_s": 0,
                    "downscale_to_zero_delay_s": 0,
                    "policy": {"policy_function": POLICY_PATH},
                },
                **resources,
            }
        ],
    }


def _in_group(group: str | None, resources: dict[str, Any]) -> dict[str, Any]:
    """Nodes of a group have a resource of its name; whoever needs a little of it is placed there."""
    if group is None:
        return resources
    share = {group_resource(group): GROUP_SHARE}
    bundles = [{**bundle, **share} for bundle in resources.get("placement_group_bundles", ())]
    return {
        **resources,
        "ray_actor_options": {**resources["ray_actor_options"], "resources": share},
        **({"placement_group_bundles": bundles} if bundles else {}),
    }


def group_resource(group: str) -> str:
    return f"baryon_group_{group}"


def _replica_settings(model: ModelConfig, device: Device, where: Surroundings) -> dict[str, Any]:
    return {
        **model.model_dump(
            include={
                "name",
                "source",
                "engine",
                "profile",
                "tensor_parallel_size",
                "pipeline_parallel_size",
                "max_in_flight",
                "kv_cache_gib",
                "start_timeout_s",
                "engine_args",
            }
        ),
        "device": device,
        "host": where.engine_host,
        "store_folder": str(where.store_folder),
        "log_folder": str(where.log_folder),
    }
