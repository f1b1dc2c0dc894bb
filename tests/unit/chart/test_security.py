"""What is safe without a word holds for every preset and with everything on, and not where it is switched off."""

import base64
import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml

from cluster.config import ModelConfig
from cluster.plan import Memory, plan_model
from cluster.run_folder import store_folder
from deployments.gateway.tenants.api_key import id_of
from engine.memory_budget import GIB
from engine.weights.model_facts import read_model_facts
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
from tests.unit.chart.everything import EVERYTHING
from tests.unit.chart.golden import PRESETS
from tests.unit.chart.helm import CHART, Document, groups, one, rendered
from tests.unit.chart.security_defaults import DEFAULTS, Edit

RELEASES = ("default", "everything", *PRESETS)


@cache
def release(name: str) -> list[Document]:
    if name in PRESETS:
        return rendered(presets=(name,))
    return rendered({**EVERYTHING, "env": []} if name == "everything" else {})


@pytest.mark.parametrize("release_name", RELEASES)
@pytest.mark.parametrize("default", DEFAULTS)
def test_it_holds(default: str, release_name: str) -> None:
    assert DEFAULTS[default].holds(release(release_name))


@pytest.mark.parametrize("default", DEFAULTS)
def test_switched_off_it_is_seen_to_be_off(default: str, tmp_path: Path) -> None:
    off = DEFAULTS[default].off
    values = off if isinstance(off, dict) else {"gateway": {"replicas": 2}}
    chart = edited(tmp_path / "baryon", off) if isinstance(off, Edit) else CHART
    assert not DEFAULTS[default].holds(rendered(values, chart=chart))


def edited(chart: Path, edit: Edit) -> Path:
    shutil.copytree(CHART, chart)
    path = chart / "templates" / edit.template
    text = path.read_text()
    assert edit.old in text
    path.write_text(text.replace(edit.old, edit.new))
    return chart


def test_the_token_is_in_a_secret_of_the_chart_or_in_yours() -> None:
    secret = one(release("default"), "Secret", "demo-ray-token")
    assert set(secret["data"]) == {"auth_token"}
    yours = rendered({"auth": {"existingSecret": "mine"}})
    assert "demo-ray-token" not in [o["metadata"]["name"] for o in yours]
    assert one(yours, "RayService")["spec"]["rayClusterConfig"]["authOptions"]["secretName"] == "mine"


def test_there_is_an_api_key_from_the_start_and_it_is_in_a_secret_alone() -> None:
    objects = release("default")
    key = base64.b64decode(one(objects, "Secret", "demo-api-keys")["data"]["default"])
    assert id_of(key) is not None
    assert key.decode() not in str([o for o in objects if o["kind"] != "Secret"])
    pod = groups(rendered({"apiKeys": {"existingSecret": "mine"}}))["state"]["template"]["spec"]
    assert {"name": "keys", "secret": {"secretName": "mine"}} in pod["volumes"]


def test_the_hubs_token_is_a_file_of_what_downloads_and_of_nothing_else() -> None:
    objects = rendered({"huggingFace": {"existingSecret": "hf", "secretKey": "mine"}})
    secret = {"secretName": "hf", "items": [{"key": "mine", "path": "token"}]}
    for name, group in groups(objects).items():
        pod = group["template"]["spec"]
        has_token = {"name": "hugging-face", "secret": secret} in pod["volumes"]
        environment = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        assert has_token is (name == "cpu")
        assert environment.get("HF_TOKEN_PATH") == ("/etc/baryon/hugging-face/token" if name == "cpu" else None)


def test_with_a_read_only_root_everything_that_is_written_to_is_a_volume() -> None:
    written = {"/tmp", "/home/baryon", "/var/log/baryon", "/var/lib/baryon", "/var/cache/baryon"}
    for group in groups(release("default")).values():
        mounts = {m["mountPath"] for m in group["template"]["spec"]["containers"][0]["volumeMounts"]}
        assert written <= mounts


@pytest.mark.slow
def test_the_memory_limit_holds_the_default_model() -> None:
    """By `baryon plan`, which leaves the machine what it needs besides."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    model = ModelConfig.model_validate(values["models"][0])
    limit = values["groupDefaults"]["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    folder = ModelStore(store_folder()).materialise(parse_source(model.source))
    plan = plan_model(model, read_model_facts(folder), Memory("cpu", int(limit.removesuffix("Gi")) * GIB))
    assert plan.problems == []
