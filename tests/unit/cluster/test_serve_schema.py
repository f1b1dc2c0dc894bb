"""The document that Serve gets: whole, valid, each setting where changing it restarts as little as possible."""

from importlib import import_module
from pathlib import Path
from typing import Any

from ray.serve.schema import ServeDeploySchema

from cluster.config import BaryonConfig
from cluster.config_file import parse_config
from cluster.kuberay import surroundings_in_pods
from cluster.serve_schema import POLICY_PATH, ROUTER_PATH, Surroundings, serve_schema
from deployments.gateway.settings import GatewaySettings

WHERE = Surroundings(Path("/r/state"), Path("/r/models"), Path("/r/logs"), "127.0.0.1", "cpu", 0.0)
TEXT = """
models:
  - {name: org/a, source: "hf:org/a@main", tensor_parallel_size: 2}
  - {name: s, engine: simulated, profile: instant, replicas: {min: 2, max: 5}}
"""


def schema(text: str = TEXT) -> dict[str, Any]:
    config: BaryonConfig = parse_config(text)
    return serve_schema(config, WHERE)


def application(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(a for a in document["applications"] if a["name"] == name)


def test_serve_accepts_it() -> None:
    document = ServeDeploySchema.model_validate(schema())
    assert [a.name for a in document.applications] == ["state", "org--a", "s", "gateway"]
    assert str(document.proxy_location) in ("Disabled", "ProxyLocation.Disabled", "DeploymentMode.NoServer")


def test_nothing_shadows_our_own_modules() -> None:
    assert "working_dir" not in str(schema())


def test_every_import_path_exists() -> None:
    paths = [a["import_path"] for a in schema()["applications"]] + [ROUTER_PATH, POLICY_PATH]
    for path in paths:
        module, _, name = path.partition(":")
        assert hasattr(import_module(module), name)


def test_slos_limits_and_counts_change_nothing_that_restarts_an_engine() -> None:
    changed = TEXT.replace("tensor_parallel_size: 2", "tensor_parallel_size: 2, slo: {ttft_ms: 9}, hang_timeout_s: 50")
    changed = changed.replace("min: 2, max: 5", "min: 3, max: 6")
    before, after = schema(), schema(changed)
    for name in ("org--a", "s"):
        assert application(before, name)["args"] == application(after, name)["args"]
    assert before != after


def test_another_port_for_metrics_restarts_nothing() -> None:
    before, after = schema(), schema(TEXT + "monitoring: {port: 9999}")
    told = application(after, "state")["deployments"][0]["user_config"]["exporters"]
    assert told == {"host": "127.0.0.1", "port": 9999}
    assert [a["args"] for a in before["applications"]] == [a["args"] for a in after["applications"]]


def test_an_engine_argument_does() -> None:
    changed = schema(
        TEXT.replace("tensor_parallel_size: 2", "tensor_parallel_size: 2, engine_args: {max_model_len: 99}")
    )
    assert application(changed, "org--a")["args"] != application(schema(), "org--a")["args"]


def test_a_gpu_replica_reserves_its_gpus_and_a_simulated_one_none() -> None:
    config = parse_config(TEXT)
    document = serve_schema(config, Surroundings(Path("/s"), Path("/m"), Path("/l"), "127.0.0.1", "cuda", 8.0))
    options = {a["name"]: a["deployments"][0]["ray_actor_options"] for a in document["applications"]}
    assert options["org--a"]["num_gpus"] == 2
    assert "num_gpus" not in options["s"]


def test_the_autoscalers_word_is_taken_at_once_and_apply_does_not_reset_a_count() -> None:
    """Serve goes back to `initial_replicas` whenever a configuration changes."""
    scaling = application(schema(), "s")["deployments"][0]["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (2, 5)
    assert "initial_replicas" not in scaling
    assert {scaling[f"{which}_delay_s"] for which in ("upscale", "downscale", "downscale_to_zero")} == {0}


def test_a_model_that_may_go_to_zero_says_how_long_requests_wait() -> None:
    models = "models: [{name: z, engine: simulated, profile: instant, replicas: {min: 0}, wake: {max_wait_s: 9}}]"
    (card,) = application(schema(models), "state")["deployments"][0]["user_config"]["models"]
    assert card["wake"] == {"max_wait_s": 9, "max_waiting": 64}
    assert card["replicas"] == {"min": 0, "max": 1}
    ServeDeploySchema.model_validate(schema(models))


def test_the_autoscaler_knows_what_a_replica_takes_of_the_cluster() -> None:
    text = TEXT.replace("tensor_parallel_size: 2", "tensor_parallel_size: 2, priority: 3")
    config = parse_config(text)
    document = serve_schema(config, Surroundings(Path("/s"), Path("/m"), Path("/l"), "127.0.0.1", "cuda", 8.0))
    first, second = application(document, "state")["deployments"][0]["user_config"]["models"]
    assert (first["needs"], first["priority"], first["wake"]) == ({"GPU": 2.0, "CPU": 1.0}, 3, None)
    assert second["needs"]["GPU"] == 0


def test_what_the_gateway_is_told_is_what_its_settings_are_called() -> None:
    text = (
        TEXT + "gateway: {cors_origins: ['https://A.example'], media_hosts: [I.example], tls: {certificate: c, key: k}}"
    )
    gateway = application(schema(text), "gateway")
    told = gateway["deployments"][0]["user_config"]
    assert told.pop("tracing") is None
    settings = GatewaySettings(**told)
    assert (settings.cors_origins, settings.media_hosts) == (["https://a.example"], ["i.example"])
    assert gateway["args"]["tls"] == {"certificate": str(Path("c").absolute()), "key": str(Path("k").absolute())}
    assert application(schema(), "gateway")["args"]["tls"] is None


def test_gateways_and_engines_are_told_where_traces_go_and_how_many_is_no_reason_for_a_new_engine() -> None:
    few, many = (
        schema(f"{TEXT}tracing: {{endpoint: 'http://collector:4318', sample: {sample}}}") for sample in (0.1, 1)
    )
    told = application(few, "gateway")["deployments"][0]["user_config"]["tracing"]
    assert told == {"endpoint": "http://collector:4318/v1/traces", "sample": 0.1, "follow_callers": False}
    assert application(few, "org--a")["args"]["trace_endpoint"] == told["endpoint"]
    assert application(few, "org--a")["args"] == application(many, "org--a")["args"]
    assert application(few, "gateway")["args"] == application(many, "gateway")["args"]
    assert application(schema(), "org--a")["args"]["trace_endpoint"] is None


def test_the_console_is_on_loopback_unless_it_is_turned_off() -> None:
    expected = {"host": "127.0.0.1", "port": 8001, "private_host": "127.0.0.1"}
    assert application(schema(), "gateway")["args"]["admin"] == expected
    assert application(schema(TEXT + "gateway: {admin_port: 0}"), "gateway")["args"]["admin"] is None


def test_a_gateway_for_everybody_shows_nobody_its_metrics() -> None:
    for asked, host in (("", "127.0.0.1"), ("monitoring: {host: 0.0.0.0}\n", "0.0.0.0")):
        document = schema(TEXT + "gateway: {host: 0.0.0.0}\n" + asked)
        assert application(document, "state")["deployments"][0]["user_config"]["exporters"]["host"] == host


def test_in_pods_state_and_gateways_have_nodes_of_their_own_and_a_model_those_of_its_group() -> None:
    config = parse_config(
        "models: [{name: m, source: 'hf:o/m@main', tensor_parallel_size: 16, node_group: b}, "
        "{name: n, source: 'hf:o/n@main', tensor_parallel_size: 4}]\ngateway: {processes: 3}"
    )
    document = serve_schema(config, surroundings_in_pods({"a": 4.0, "b": 8.0}, "the chart"))
    deployments = {a["name"]: a["deployments"][0] for a in document["applications"]}
    assert deployments["state"]["ray_actor_options"] == {"num_cpus": 0, "resources": {"baryon_state": 1}}
    assert deployments["gateway"]["ray_actor_options"]["resources"] == {"baryon_gateway": 1}
    assert (deployments["gateway"]["num_replicas"], deployments["gateway"]["max_replicas_per_node"]) == (3, 1)
    bundle = {"CPU": 1.0, "GPU": 8.0, "baryon_group_b": 0.001}
    assert deployments["m"]["placement_group_bundles"] == [bundle, bundle]
    assert deployments["m"]["ray_actor_options"]["resources"] == {"baryon_group_b": 0.001}
    assert "resources" not in deployments["n"]["ray_actor_options"]
    ServeDeploySchema.model_validate(document)
