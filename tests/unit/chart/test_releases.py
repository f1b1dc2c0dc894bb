"""A real helm against an API server in memory: install, upgrade, rollback, uninstall."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.chart.api_server import ApiServer
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


def test_a_typo_fails_before_anything_is_created(api: ApiServer, run: Run) -> None:
    with pytest.raises(HelmRefused, match="Is replicas meant"):
        run("install", "demo", str(CHART), "--disable-openapi-validation", "--set", "gateway.replicaz=2")
    assert [key for key in api.objects if key[0] != "namespaces"] == []
