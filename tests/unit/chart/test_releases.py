"""A real helm against an API server in memory: install, upgrade, rollback, uninstall."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.chart.api_server import ApiServer, Document, Key
from tests.unit.chart.everything import EVERYTHING
from tests.unit.chart.helm import CHART, HelmRefused, binaries, helm

pytestmark = pytest.mark.slow
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
}
TOKEN = ("secrets", "default", "demo-ray-token")
MODELS = [{"name": "m", "source": "hf:o/m@main", "slo": {"ttft_ms": 9}}]
KEYS = ("secrets", "default", "demo-api-keys")
SERVICE = ("rayservices", "default", "demo")

Run = Callable[..., str]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.objects["namespaces", "", "default"] = {"metadata": {"name": "default"}, "kind": "Namespace"}
        yield server


@pytest.fixture(params=binaries(), ids=lambda path: path.name)
def run(request: pytest.FixtureRequest, api: ApiServer, tmp_path: Path) -> Run:
    config = {**KUBECONFIG, "clusters": [{"name": "c", "cluster": {"server": api.url}}]}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    folders = {f"HELM_{kind}_HOME": str(tmp_path / kind) for kind in ("CACHE", "CONFIG", "DATA")}
    environment = {
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        **folders,
    }
    return lambda *arguments: helm(*arguments, binary=request.param, env=environment)


def test_a_release_lives_and_ends(api: ApiServer, run: Run) -> None:
    notes = run("install", "demo", str(CHART), "--disable-openapi-validation")
    assert "get secret demo-api-keys" in notes
    assert api.names("rayservices") == ["demo"]
    assert {"demo", "demo-gateway", "demo-head"} <= set(api.names("networkpolicies"))
    key = api.objects[KEYS]["data"]["default"]
    token, first = api.objects[TOKEN]["data"]["auth_token"], api.objects[SERVICE]["spec"]["rayClusterConfig"]

    run("upgrade", "demo", str(CHART), "--disable-openapi-validation", "--set-json", f"models={json.dumps(MODELS)}")
    assert api.objects[TOKEN]["data"]["auth_token"] == token
    assert api.objects[KEYS]["data"]["default"] == key
    assert api.objects[SERVICE]["spec"]["rayClusterConfig"] == first
    assert "ttft_ms: 9" in api.objects[SERVICE]["spec"]["serveConfigV2"]

    run("rollback", "demo", "1")
    assert "ttft_ms: 2000" in api.objects[SERVICE]["spec"]["serveConfigV2"]

    run("uninstall", "demo")
    assert api.names("rayservices") == api.names("services") == []
    assert api.names("persistentvolumeclaims") == ["demo-state"]


def test_another_install_of_the_name_takes_up_what_an_uninstall_left(api: ApiServer, run: Run) -> None:
    run("install", "demo", str(CHART), "--disable-openapi-validation")
    token, key = api.objects[TOKEN]["data"], api.objects[KEYS]["data"]
    run("uninstall", "demo")
    run("install", "demo", str(CHART), "--disable-openapi-validation")
    assert (api.objects[TOKEN]["data"], api.objects[KEYS]["data"]) == (token, key)
    assert api.names("persistentvolumeclaims") == ["demo-state"]


def test_a_typo_fails_before_anything_is_created(api: ApiServer, run: Run) -> None:
    with pytest.raises(HelmRefused, match="Is replicas meant"):
        run("install", "demo", str(CHART), "--disable-openapi-validation", "--set", "gateway.replicaz=2")
    assert [key for key in api.objects if key[0] != "namespaces"] == []


def test_a_typo_in_an_upgrade_leaves_the_release_as_it_is(api: ApiServer, run: Run) -> None:
    run("install", "demo", str(CHART), "--disable-openapi-validation")
    before = dict(api.objects)
    with pytest.raises(HelmRefused, match="Is name meant"):
        run("upgrade", "demo", str(CHART), "--disable-openapi-validation", "--set", "gateway.env[0].nam=A")
    assert of_the_chart(api.objects) == of_the_chart(before)


def test_with_everything_on_it_lives_and_leaves_claims_and_secrets(api: ApiServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(EVERYTHING))
    given = ["demo", str(CHART), "--disable-openapi-validation", "--values", str(tmp_path / "values.yaml")]
    run("install", *given)
    (first,) = api.names("jobs")
    kinds = {key[0] for key in of_the_chart(api.objects)}
    assert {"httproutes", "ingresses", "podmonitors", "prometheusrules", "configmaps", "poddisruptionbudgets"} <= kinds

    run("upgrade", *given, "--set-json", f"models={json.dumps(MODELS)}")
    (second,) = api.names("jobs")
    assert first != second

    run("rollback", "demo", "1")
    assert api.names("jobs") == [first]

    run("uninstall", "demo")
    assert {key[0] for key in of_the_chart(api.objects)} == {"persistentvolumeclaims", "secrets"}
    assert api.names("persistentvolumeclaims") == ["demo-models", "demo-state"]


def test_the_notes_name_a_secret_that_is_not_there(api: ApiServer, run: Run) -> None:
    """Only where there is a cluster to ask: each namespace has an account named default."""
    api.objects["serviceaccounts", "default", "default"] = {"metadata": {"name": "default"}, "kind": "ServiceAccount"}
    api.objects["secrets", "default", "there"] = {"metadata": {"name": "there"}, "kind": "Secret"}
    named = ["--set", "auth.existingSecret=there", "--set", "huggingFace.existingSecret=nowhere"]
    notes = run("install", "demo", str(CHART), "--disable-openapi-validation", *named)
    assert "there is no Secret nowhere (huggingFace.existingSecret)" in notes
    assert "there is no Secret there" not in notes


def of_the_chart(objects: dict[Key, Document]) -> dict[Key, Document]:
    """Without Helm's own records of releases."""
    return {key: o for key, o in objects.items() if key[0] != "namespaces" and "helm.release" not in key[2]}
