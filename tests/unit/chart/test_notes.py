"""What Helm prints tells how to wait, find the key and ask, and what is lost where something is left out."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.chart.api_server import ApiServer
from tests.unit.chart.helm import CHART, Document, binaries, helm, one, rendered

pytestmark = pytest.mark.parametrize("binary", binaries(), ids=lambda path: path.name)


def notes(binary: Path, values: Document | None = None) -> str:
    dry = ["install", "demo", str(CHART), "--namespace", "ns", "--dry-run=client", "-f", "-"]
    dry += ["--disable-openapi-validation"]
    with ApiServer() as server:  # Helm 3 asks it for its version
        said = helm(*dry, "--kube-apiserver", server.url, binary=binary, stdin=yaml.safe_dump(values or {}))
    return said.partition("NOTES:")[2]


def test_it_tells_to_wait_for_the_gateways_and_how_to_ask(binary: Path) -> None:
    text = notes(binary)
    selector = "app.kubernetes.io/instance=demo,app.kubernetes.io/component=gateway"
    assert "kubectl -n ns wait --for=condition=Ready rayservice/demo" in text
    assert f"wait --for=condition=Ready pod -l {selector}" in text
    assert "port-forward service/demo 8080:80" in text
    assert '"model": "smollm2-135m-instruct"' in text


def test_its_commands_are_a_shells(binary: Path) -> None:
    """Each that is indented; `bash -n` reads them all."""
    commands = "\n".join(re.findall(r"^  .*$", notes(binary), re.MULTILINE))
    done = subprocess.run(["bash", "-n"], input=commands, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert shlex.split(commands, comments=False)


def test_the_secrets_that_it_names_are_those_of_the_release(binary: Path) -> None:
    objects = rendered()
    for name, key in re.findall(r"get secret (\S+) -o jsonpath='\{\.data\.(\w+)\}'", notes(binary)):
        assert key in one(objects, "Secret", name)["data"]
    assert "get secret mine" not in notes(binary, {"apiKeys": {"existingSecret": "mine"}})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"state": {"persistence": {"enabled": False}}}, "Keys, limits and usage are lost when the state pod goes"),
        ({"networkPolicy": {"enabled": False}}, "Every pod of the cluster reaches the engines and Ray"),
        ({}, "When the head pod goes, the cluster starts anew"),
    ],
)
def test_it_says_what_is_lost(binary: Path, values: Document, words: str) -> None:
    redis = {"enabled": True, "redisAddress": "redis:6379"}
    safe = {"state": {}, "networkPolicy": {}, "gcsFaultTolerance": redis}
    assert words in notes(binary, values)
    assert words not in notes(binary, safe)
