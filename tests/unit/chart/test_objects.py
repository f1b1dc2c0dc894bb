"""What the chart makes is valid, the same every time, and keeps its promises about who reaches what."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from tests.unit.chart.everything import EVERYTHING
from tests.unit.chart.golden import FOLDER, PRESETS, golden
from tests.unit.chart.helm import (
    CHART,
    TYPES_WITHOUT_CLUSTER,
    Document,
    binaries,
    groups,
    helm,
    one,
    rendered,
    serve_document,
)
from tests.unit.chart.kuberay_schema import problems


@pytest.mark.parametrize("binary", binaries(), ids=lambda path: path.name)
@pytest.mark.parametrize("preset", PRESETS)
def test_lint_finds_nothing_and_kuberay_accepts_it(binary: Path, preset: str) -> None:
    helm("lint", "--strict", str(CHART), "-f", str(CHART / f"values-{preset}.yaml"), binary=binary)
    assert problems(one(rendered(presets=(preset,), binary=binary), "RayService")) == []


@pytest.mark.parametrize("binary", binaries(), ids=lambda path: path.name)
def test_with_everything_on_it_is_valid(binary: Path) -> None:
    apis = [word for api in TYPES_WITHOUT_CLUSTER for word in ("--api-versions", api)]
    objects = rendered(EVERYTHING, *apis, binary=binary)
    assert problems(one(objects, "RayService")) == []
    assert {"Ingress", "HTTPRoute", "PodMonitor", "PrometheusRule", "PodDisruptionBudget"} <= {
        o["kind"] for o in objects
    }
    assert len([o for o in objects if o["kind"] == "ConfigMap"]) == 6
    assert one(objects, "ConfigMap", "demo-more")


def test_it_needs_no_other_chart() -> None:
    assert "dependencies" not in yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert not (CHART / "charts").exists()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_renders_what_was_reviewed(preset: str) -> None:
    assert golden(preset) == (FOLDER / f"{preset}.yaml").read_text(), "python -m tests.unit.chart.golden writes it anew"


def test_rendering_twice_gives_the_same_but_for_the_token() -> None:
    first, second = ([o for o in rendered(presets=("multi-gpu",)) if o["kind"] != "Secret"] for _ in range(2))
    assert first == second


def test_a_models_change_leaves_every_pod_as_it_is() -> None:
    models = [{"name": "m", "source": "hf:o/m@main", "slo": {"ttft_ms": 5}}]
    before, after = one(rendered(), "RayService")["spec"], one(rendered({"models": models}), "RayService")["spec"]
    assert before.pop("serveConfigV2") != after.pop("serveConfigV2")
    assert before == after


def test_ray_derives_what_each_pod_has() -> None:
    service = one(rendered(presets=("multi-gpu",)), "RayService")
    cluster = {"metadata": {"name": "c", "namespace": "n"}, "spec": service["spec"]["rayClusterConfig"]}
    types = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    resources = {name: of["resources"] for name, of in types.items()}
    assert resources["headgroup"]["CPU"] == 0
    assert "GPU" not in resources["headgroup"]
    assert (resources["gateway"]["CPU"], resources["gateway"]["baryon_gateway"]) == (0, 1)
    assert (resources["state"]["CPU"], resources["state"]["baryon_state"]) == (0, 1)
    assert (resources["h100"]["CPU"], resources["h100"]["GPU"], resources["h100"]["baryon_group_h100"]) == (64, 8, 1)
    assert (types["h100"]["min_workers"], types["h100"]["max_workers"]) == (1, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_ray_derives_the_same_as_kubernetes_of_every_group(preset: str) -> None:
    objects = rendered(presets=(preset,))
    cluster = one(objects, "RayService")["spec"]["rayClusterConfig"]
    custom_resource = {"metadata": {"name": "c", "namespace": "n"}, "spec": cluster}
    types = _derive_autoscaling_config_from_ray_cr(custom_resource)["available_node_types"]
    for name, group in groups(objects).items():
        limits = container(group)["resources"]["limits"]
        derived = types["headgroup" if name == "head" else name]["resources"]
        assert str(derived["CPU"]) == group["resources"].get("CPU", limits["cpu"])
        assert derived.get("GPU", 0) == limits.get("nvidia.com/gpu", 0)


def test_recipes_of_a_config_map_are_where_gateways_look_for_them() -> None:
    made = rendered({"gateway": {"recipes": {"existingConfigMap": "mine"}}})
    pod = groups(made)["gateway"]["template"]["spec"]
    assert {"name": "recipes", "configMap": {"name": "mine", "optional": True}} in pod["volumes"]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "recipes"]
    (gateway,) = [made for made in serve_document(made)["applications"] if made["name"] == "gateway"]
    assert gateway["deployments"][0]["user_config"]["recipes_folder"] == mount["mountPath"]
    assert "subPath" not in mount, "kubelet does not follow changes of a file that is mounted by itself"


def test_only_gateways_are_behind_the_service() -> None:
    objects = rendered({"engineGroups": {"g": {"gpus": 1}}})
    selector = one(objects, "Service")["spec"]["selector"].items()
    labels = {
        name: {**g["template"]["metadata"]["labels"], "ray.io/group": name, "ray.io/serve": "true"}
        for name, g in groups(objects).items()
    }
    assert [name for name, of in labels.items() if selector <= of.items()] == ["gateway"]


def test_a_gateway_is_ready_by_its_own_word_and_an_engine_by_its_raylets() -> None:
    probes = {name: container(group).get("readinessProbe") for name, group in groups(rendered()).items()}
    assert probes["gateway"]["httpGet"] == {"path": "/ready", "port": "gateway", "scheme": "HTTP"}
    assert (
        probes["cpu"]["httpGet"] == probes["state"]["httpGet"] == {"path": "/api/local_raylet_healthz", "port": 52365}
    )


def test_pods_get_more_time_than_a_drain_and_the_old_cluster_too() -> None:
    objects = rendered({"drain": {"seconds": 200}})
    for name in ("gateway", "cpu"):
        pod = groups(objects)[name]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] > 200
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command == ["python", "-m", "cluster.node_drain", "--within-s", "200"]
    assert one(objects, "RayService")["spec"]["rayClusterDeletionDelaySeconds"] > 200


def test_a_gpu_group_asks_for_gpus_where_they_are() -> None:
    pod = groups(rendered(presets=("multi-gpu",)))["h100"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_a_group_may_begin_at_zero() -> None:
    assert groups(rendered({"engineGroups": {"cpu": {"minReplicas": 0}}}))["cpu"]["minReplicas"] == 0


def test_with_high_availability_no_two_of_a_kind_are_on_one_node_only() -> None:
    made = groups(rendered(presets=("ha",)))
    for name, component, least in (("gateway", "gateway", 3), ("cpu", "engine", 2)):
        assert made[name]["minReplicas"] >= least
        (spread,) = made[name]["template"]["spec"]["topologySpreadConstraints"]
        assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
        assert spread["minDomains"] >= 2, "with one node alone Kubernetes takes any number for spread"
        found_by = spread["labelSelector"]["matchLabels"]
        assert found_by == {"app.kubernetes.io/component": component}
        assert found_by.items() <= made[name]["template"]["metadata"]["labels"].items()


def test_state_is_on_a_volume_that_uninstall_keeps() -> None:
    objects = rendered()
    claim = one(objects, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    volumes = {v["name"]: v for v in groups(objects)["state"]["template"]["spec"]["volumes"]}
    assert volumes["lib"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def container(group: Document) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    return dict(only)
