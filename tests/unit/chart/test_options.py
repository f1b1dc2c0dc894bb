"""What is off by default does what it says once it is on."""

import pytest

from tests.unit.chart.everything import INCREMENTAL
from tests.unit.chart.helm import Document, HelmRefused, groups, one, rendered

WARM: Document = {"modelCache": {"claim": {"create": True}, "warmUp": {"enabled": True}}}
MODELS = [
    {"name": "a", "source": "hf:o/a@main"},
    {"name": "b", "source": "hf:o/b@v1"},
    {"name": "again", "source": "hf:o/a@main"},
    {"name": "own", "source": "/models/own"},
    {"name": "s", "engine": "simulated", "profile": "instant"},
]


def job_of(values: Document) -> Document:
    return one(rendered({**WARM, **values}), "Job")


def test_the_warm_up_fetches_each_source_once_into_the_claim_that_engines_have() -> None:
    objects = rendered({**WARM, "models": MODELS})
    job = one(objects, "Job")["spec"]["template"]["spec"]
    claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "demo-models"}}
    assert job["containers"][0]["command"][2:] == ["cluster.warm_cache", "hf:o/a@main", "hf:o/b@v1"]
    assert claim in job["volumes"]
    assert claim in groups(objects)["cpu"]["template"]["spec"]["volumes"]
    assert one(objects, "PersistentVolumeClaim", "demo-models")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "cluster.warm_cache" in str(job_of({"modelCache": {"existingClaim": "c", "warmUp": {"enabled": True}}}))


def test_whatever_changes_the_jobs_pod_makes_another_job_since_none_can_be_changed() -> None:
    changes: list[Document] = [
        {},
        {"models": MODELS},
        {"image": {"tag": "2"}},
        {"podSecurityContext": {"runAsUser": 20000}},
        {"huggingFace": {"existingSecret": "hf"}},
        {"env": [{"name": "A", "value": "b"}]},
    ]
    jobs = [job_of(values) for values in changes]
    assert len({job["metadata"]["name"] for job in jobs}) == len(changes)
    assert jobs[1] == job_of(changes[1])
    slo = [{**model, "slo": {"ttft_ms": 9}} for model in MODELS]
    assert job_of({"models": slo}) == jobs[1]


def test_without_the_internet_the_warm_up_alone_goes_out() -> None:
    objects = rendered({**WARM, "networkPolicy": {"allowInternet": False}})
    out = {
        o["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component"): peer["ipBlock"]
        for o in objects
        if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] != "demo-head"
        for rule in o["spec"].get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer
    }
    assert out == {"warm-up": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}
    job = one(objects, "Job")["spec"]["template"]["metadata"]["labels"]
    assert job["app.kubernetes.io/component"] == "warm-up"


def test_tls_is_the_gateways_own_or_an_ingress_or_a_route() -> None:
    own = rendered({"gateway": {"tls": {"existingSecret": "t"}}})
    pod = groups(own)["gateway"]["template"]["spec"]
    assert {"name": "tls", "secret": {"secretName": "t"}} in pod["volumes"]
    assert pod["containers"][0]["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert one(own, "Service")["spec"]["ports"][0]["name"] == "https"
    tls = [{"hosts": ["a.example"], "secretName": "s"}]
    ingress = one(rendered({"ingress": {"enabled": True, "hosts": ["a.example"], "tls": tls}}), "Ingress")
    assert ingress["spec"]["tls"] == tls
    parents = [{"name": "g", "sectionName": "https"}]
    route = one(rendered({"httpRoute": {"enabled": True, "parentRefs": parents}}), "HTTPRoute")
    assert route["spec"]["parentRefs"] == parents
    assert route["spec"]["rules"][0]["backendRefs"] == [{"name": "demo", "port": 80}]


def test_prometheus_finds_each_pods_page_the_alerts_and_grafana_its_pages() -> None:
    kinds = ("podMonitor", "prometheusRule", "dashboards")
    objects = rendered({"monitoring": {kind: {"enabled": True, "labels": {"find": "me"}} for kind in kinds}})
    found = [o for o in objects if o["metadata"]["labels"].get("find") == "me"]
    assert {o["kind"] for o in found} == {"PodMonitor", "PrometheusRule", "ConfigMap"}
    monitor = one(objects, "PodMonitor")["spec"]
    (port,) = [endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]]
    for group in groups(objects).values():
        assert monitor["selector"]["matchLabels"].items() <= group["template"]["metadata"]["labels"].items()
        assert port in [p["name"] for p in group["template"]["spec"]["containers"][0]["ports"]]


@pytest.mark.parametrize("is_on", [True, False])
def test_native_histograms_are_scraped_where_they_are_wanted_and_the_classic_ones_too(is_on: bool) -> None:
    objects = rendered({"monitoring": {"podMonitor": {"enabled": True, "nativeHistograms": is_on}}})
    spec = one(objects, "PodMonitor")["spec"]
    both = ("scrapeNativeHistograms", "scrapeClassicHistograms")
    assert [spec.get(key) for key in both] == ([True, True] if is_on else [None, None])


def test_the_control_plane_is_kept_in_redis_with_its_password_from_a_secret() -> None:
    values = {"gcsFaultTolerance": {"enabled": True, "redisAddress": "redis:6379", "existingSecret": "r"}}
    options = one(rendered(values), "RayService")["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    secret = {"valueFrom": {"secretKeyRef": {"name": "r", "key": "password"}}}
    assert options == {"redisAddress": "redis:6379", "redisPassword": secret}


def test_volcano_finds_the_release_by_labels_and_pods_by_their_scheduler() -> None:
    labels = {"volcano.sh/queue-name": "v"}
    objects = rendered({"labels": labels, "schedulerName": "volcano"})
    assert labels.items() <= one(objects, "RayService")["metadata"]["labels"].items()
    assert {g["template"]["spec"]["schedulerName"] for g in groups(objects).values()} == {"volcano"}


def test_kueue_finds_an_elastic_release_of_one_cluster() -> None:
    """Its webhook refuses an autoscaler without the annotation, and its slices have quota for one cluster."""
    queue, elastic = {"kueue.x-k8s.io/queue-name": "q"}, {"kueue.x-k8s.io/elastic-job": "true"}
    service = one(rendered({"labels": queue, "annotations": elastic, "upgrade": {"type": "None"}}), "RayService")
    assert queue.items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["annotations"] == elastic
    assert service["spec"]["upgradeStrategy"] == {"type": "None"}


def test_in_an_incremental_upgrade_gateways_alone_are_ever_ready() -> None:
    """KubeRay's Gateway leads to services with every ready worker behind them, at the head's port named `serve`."""
    made = groups(rendered({**INCREMENTAL, "gateway": {"port": 8123}}))
    probes = {name: container(group)["readinessProbe"]["httpGet"] for name, group in made.items() if name != "head"}
    assert {"name": "serve", "containerPort": 8123} in container(made["head"])["ports"]
    assert {"name": "gateway", "containerPort": 8123} in container(made["gateway"])["ports"]
    assert probes["gateway"] == {"path": "/ready", "port": "gateway", "scheme": "HTTP"}
    for name in ("state", "cpu"):
        assert probes[name] == {"path": "/ready", "port": 8123}
        assert 8123 not in [port["containerPort"] for port in container(made[name])["ports"]]


def test_the_last_of_two_variables_of_one_name_is_taken_as_kubernetes_takes_no_second() -> None:
    """Neither does server-side apply, which Helm 4 asks for."""
    both = [{"name": "HF_HOME", "value": "/a"}, {"name": "MINE", "value": "a"}]
    made = groups(rendered({"env": both, "engineGroups": {"cpu": {"env": [{"name": "MINE", "value": "b"}]}}}))
    for name, mine in (("cpu", "b"), ("gateway", "a")):
        env = container(made[name])["env"]
        assert len({one["name"] for one in env}) == len(env)
        assert {"name": "HF_HOME", "value": "/a"} in env
        assert {"name": "MINE", "value": mine} in env


def test_every_name_that_the_chart_makes_is_one_with_the_longest_name_of_a_release() -> None:
    """63 characters: a Job's and a Service's name are labels or host names too."""
    name = "a" * 47
    objects = rendered({**WARM, "fullnameOverride": name, "monitoring": {"dashboards": {"enabled": True}}})
    too_long = [o["metadata"]["name"] for o in objects if len(o["metadata"]["name"]) > 63 and o["kind"] != "ConfigMap"]
    assert too_long == []
    assert len(one(objects, "Job")["metadata"]["name"]) == 63


def test_an_incremental_upgrade_has_its_steps() -> None:
    assert one(rendered(INCREMENTAL), "RayService")["spec"]["upgradeStrategy"]["clusterUpgradeOptions"] == {
        "gatewayClassName": "istio",
        "intervalSeconds": 60,
        "maxSurgePercent": 100,
        "stepSizePercent": 25,
    }


def test_extra_objects_go_along_with_templates_in_them_rendered() -> None:
    more = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}
    assert one(rendered({"extraObjects": [more]}), "ConfigMap", "demo-more")
    with pytest.raises(HelmRefused):
        rendered({"extraObjects": [{**more, "metadata": {"name": "{{ .Nothing.here }}"}}]})


def test_head_and_state_go_after_what_drains() -> None:
    hooks = {
        name: group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2:]
        for name, group in groups(rendered({"drain": {"seconds": 200}})).items()
    }
    drains, last = ["cluster.node_drain", "--within-s", "200"], ["cluster.others_drain", "--within-s", "215"]
    assert hooks == {"head": last, "state": last, "gateway": drains, "cpu": drains}


def container(group: Document) -> Document:
    (only,) = group["template"]["spec"]["containers"]
    return dict(only)
