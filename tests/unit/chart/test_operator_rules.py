"""KubeRay's operator takes the RayService of every preset; each rule refuses what breaks it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.chart.everything import EVERYTHING, INCREMENTAL
from tests.unit.chart.golden import PRESETS
from tests.unit.chart.helm import Document, one, rendered
from tests.unit.chart.operator_rules import broken_rules

Break = Callable[[Document], Any]


def cluster(service: Document) -> Document:
    found: Document = service["spec"]["rayClusterConfig"]
    return found


def head(service: Document) -> Document:
    found: Document = cluster(service)["headGroupSpec"]["template"]["spec"]["containers"][0]
    return found


def steps(service: Document) -> Document:
    found: Document = service["spec"]["upgradeStrategy"]["clusterUpgradeOptions"]
    return found


BREAKS: list[tuple[str, Break]] = [
    ("the name", lambda s: s["metadata"].update(name="1" + "a" * 47)),
    (
        "headService",
        lambda s: cluster(s)["headGroupSpec"].update(headService={"metadata": {"name": "x"}}),
    ),
    ("no port named serve", lambda s: head(s).update(ports=[p for p in head(s)["ports"] if p["name"] != "serve"])),
    ("a Redis user", lambda s: head(s)["env"].append({"name": "REDIS_USERNAME", "value": "u"})),
    ("version is said twice", lambda s: head(s)["env"].append({"name": "RAY_enable_autoscaler_v2", "value": "1"})),
    ("initializing-timeout", lambda s: s["metadata"].update(annotations={"ray.io/initializing-timeout": "soon"})),
    ("networkPolicy without", lambda s: cluster(s).update(networkPolicy={"mode": "DenyAll"})),
    ("tlsOptions without", lambda s: cluster(s).update(tlsOptions={"enabled": True})),
    ("rocksdb without", lambda s: cluster(s)["gcsFaultToleranceOptions"].update(backend="rocksdb")),
    ("without autoscaler v2", lambda s: cluster(s)["autoscalerOptions"].update(version="v1")),
    ("gateway: idleTimeoutSeconds", lambda s: cluster(s)["workerGroupSpecs"][0].update(idleTimeoutSeconds=-1)),
    ("a token with Ray", lambda s: cluster(s).update(rayVersion="2.51.0")),
    ("enableK8sTokenAuth", lambda s: cluster(s)["authOptions"].update(enableK8sTokenAuth=True)),
    ("sizes in rayStartParams", lambda s: cluster(s)["headGroupSpec"]["rayStartParams"].update({"num-cpus": "1"})),
    ("labels in rayStartParams", lambda s: cluster(s)["headGroupSpec"]["rayStartParams"].update(labels="a=b")),
    (
        "restartPolicy",
        lambda s: cluster(s)["workerGroupSpecs"][0]["template"]["spec"].update(restartPolicy="Always"),
    ),
    ("no limits", lambda s: cluster(s)["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"].clear()),
    ("gateway: replicas", lambda s: cluster(s)["workerGroupSpecs"][0].update(minReplicas=999)),
    ("groups of one name", lambda s: cluster(s)["workerGroupSpecs"][0].update(groupName="state")),
    (
        "Redis is said twice",
        lambda s: s["metadata"].setdefault("annotations", {}).update({"ray.io/ft-enabled": "true"}),
    ),
    ("no redisAddress", lambda s: cluster(s)["gcsFaultToleranceOptions"].update(redisAddress="")),
]


BREAKS_OF_UPGRADES: list[tuple[str, Break]] = [
    ("autoscaler", lambda s: cluster(s).update(enableInTreeAutoscaling=False)),
    ("stepSizePercent", lambda s: steps(s).update(stepSizePercent=101)),
    ("intervalSeconds", lambda s: steps(s).update(intervalSeconds=0)),
    ("gatewayClassName", lambda s: steps(s).update(gatewayClassName="")),
]


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_breaks_one(preset: str) -> None:
    assert broken_rules(one(rendered(presets=(preset,)), "RayService")) == []


@pytest.fixture(scope="module")
def everything() -> Document:
    return one(rendered(EVERYTHING), "RayService")


@pytest.mark.parametrize(("words", "break_it"), BREAKS, ids=[words for words, _ in BREAKS])
def test_each_rule_is_seen_to_be_broken(words: str, break_it: Break, everything: Document) -> None:
    assert is_seen(words, break_it, everything)


@pytest.mark.parametrize(("words", "break_it"), BREAKS_OF_UPGRADES, ids=[words for words, _ in BREAKS_OF_UPGRADES])
def test_each_rule_of_an_incremental_upgrade_is_seen_to_be_broken(words: str, break_it: Break) -> None:
    assert is_seen(words, break_it, one(rendered(INCREMENTAL), "RayService"))


def is_seen(words: str, break_it: Break, service: Document) -> bool:
    assert broken_rules(service) == []
    broken = copy.deepcopy(service)
    break_it(broken)
    return any(words in rule for rule in broken_rules(broken))
