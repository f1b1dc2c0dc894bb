"""KubeRay's operator takes the RayService of every preset; each rule refuses what breaks it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.chart.everything import EVERYTHING
from tests.unit.chart.golden import PRESETS
from tests.unit.chart.helm import Document, one, rendered
from tests.unit.chart.operator_rules import broken_rules

Break = Callable[[Document], Any]


def cluster(service: Document) -> Document:
    found: Document = service["spec"]["rayClusterConfig"]
    return found


BREAKS: list[tuple[str, Break]] = [
    ("the name", lambda s: s["metadata"].update(name="1" + "a" * 47)),
    (
        "headService",
        lambda s: cluster(s)["headGroupSpec"].update(headService={"metadata": {"name": "x"}}),
    ),
    ("autoscaler", lambda s: cluster(s).update(enableInTreeAutoscaling=False)),
    ("stepSizePercent", lambda s: s["spec"]["upgradeStrategy"]["clusterUpgradeOptions"].update(stepSizePercent=101)),
    ("intervalSeconds", lambda s: s["spec"]["upgradeStrategy"]["clusterUpgradeOptions"].update(intervalSeconds=0)),
    ("a token with Ray", lambda s: cluster(s).update(rayVersion="2.51.0")),
    ("enableK8sTokenAuth", lambda s: cluster(s)["authOptions"].update(enableK8sTokenAuth=True)),
    ("sizes in rayStartParams", lambda s: cluster(s)["headGroupSpec"]["rayStartParams"].update({"num-cpus": "1"})),
    ("labels in rayStartParams", lambda s: cluster(s)["headGroupSpec"]["rayStartParams"].update(labels="a=b")),
    (
        "restartPolicy",
        lambda s: cluster(s)["workerGroupSpecs"][0]["template"]["spec"].update(restartPolicy="Always"),
    ),
    ("no limits", lambda s: cluster(s)["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"].clear()),
    ("gateway: replicas", lambda s: cluster(s)["workerGroupSpecs"][0].update(minReplicas=99)),
    ("groups of one name", lambda s: cluster(s)["workerGroupSpecs"][0].update(groupName="state")),
    (
        "Redis is said twice",
        lambda s: s["metadata"].setdefault("annotations", {}).update({"ray.io/ft-enabled": "true"}),
    ),
    ("no redisAddress", lambda s: cluster(s)["gcsFaultToleranceOptions"].update(redisAddress="")),
]


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_breaks_one(preset: str) -> None:
    assert broken_rules(one(rendered(presets=(preset,)), "RayService")) == []


@pytest.fixture(scope="module")
def everything() -> Document:
    return one(rendered(EVERYTHING), "RayService")


@pytest.mark.parametrize(("words", "break_it"), BREAKS, ids=[words for words, _ in BREAKS])
def test_each_rule_is_seen_to_be_broken(words: str, break_it: Break, everything: Document) -> None:
    assert broken_rules(everything) == []
    service = copy.deepcopy(everything)
    break_it(service)
    assert any(words in rule for rule in broken_rules(service))
