"""What the documentation tells a reader to type or to set is there: values, commands of baryon, kubectl and helm."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cluster.cli import app
from tests.unit.chart.api_server import ApiServer
from tests.unit.chart.helm import CHART, ROOT, Document, binaries, groups, helm, one, rendered
from tests.unit.chart.kinds import VERSIONS, kubernetes_validate

KUBECTL = ROOT / ".tools" / "kubectl"
OF_KUBERNETES = ROOT / "docs" / "kubernetes.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_VALUES = ("kubernetes.md", "sizing.md")
KNOWN: Document = json.loads((CHART / "files" / "known_keys.json").read_text())
VALUE = re.compile(r"`([a-z][A-Za-z]*(?:\.[A-Za-z]+)+)[`:]")
SHORT_VALUE = re.compile(r"`(\.[A-Za-z]+)`")
SECTION = re.compile(r"`([a-z][A-Za-z]*)(?:`|: \{)")
NOT_VALUES = {"serveConfigV2", "preStop", "rayClusterConfig", "fsGroup"}
COMMAND = re.compile(r"`(baryon(?: [^`]*)?)`|^ {4}(?:.*-- )?(baryon .*)$", re.MULTILINE)


def spoken(text: str, tool: str) -> list[str]:
    """Commands of a tool: whole lines that are indented, and words in backquotes."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    quoted = re.findall(r"`([^`\n]+)`", text)
    within = [inner for line in lines for inner in re.findall(r"\$\((.*)\)", line)]
    return [one for one in [*lines, *quoted, *within] if one.startswith(f"{tool} ")]


def is_value(path: str, known: Any = KNOWN) -> bool:
    name, _, rest = path.partition(".")
    if known is None or not name:
        return True
    inner = known.get(name, known.get("*", known)) if isinstance(known, dict) else known
    return (name in known or "*" in known) and (not rest or is_value(rest, inner))


def values_named(text: str) -> Iterator[str]:
    """`a.b`, and after it `.c` for `a.c`."""
    for line in text.splitlines():
        for section in SECTION.findall(line):
            if section in KNOWN:
                yield section
        for found in re.finditer(f"{VALUE.pattern}|{SHORT_VALUE.pattern}", line):
            if found[1] and found[1].partition(".")[0] in KNOWN:
                yield found[1]
            elif found[2]:
                before = [v for v in VALUE.findall(line[: found.start()]) if v.partition(".")[0] in KNOWN]
                yield f"{before[-1].rpartition('.')[0]}{found[2]}"


@pytest.mark.parametrize("page", OF_VALUES)
def test_every_value_that_a_page_names_is_there(page: str) -> None:
    assert [value for value in values_named((ROOT / "docs" / page).read_text()) if not is_value(value)] == []


def test_a_value_that_is_not_there_is_seen() -> None:
    named = list(
        values_named(
            "`gateway.replicaz`, `monitoring.podMonitor` and `.prometheusRulez`, `models`, `engineGroups.NAME.gpus`"
        )
    )
    assert [value for value in named if not is_value(value)] == ["gateway.replicaz", "monitoring.prometheusRulez"]
    assert len(list(values_named(OF_KUBERNETES.read_text()))) > 60


def every_key(known: Any) -> Iterator[str]:
    if isinstance(known, dict):
        for name, inner in known.items():
            yield name
            yield from every_key(inner)


def test_words_like_a_values_name_are_one_or_kubernetes() -> None:
    words = set(re.findall(r"`([a-z]+[A-Z][A-Za-z]*)`", OF_KUBERNETES.read_text()))
    assert words - set(every_key(KNOWN)) - NOT_VALUES == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_of_baryon_is_there_with_its_options(page: Path) -> None:
    found = [quoted or line for quoted, line in COMMAND.findall(page.read_text())]
    assert [problem for command in found if (problem := problem_with(command))] == []


def test_a_command_that_is_not_there_is_seen() -> None:
    commands = ["baryon statuss", "baryon status --whyy", "baryon keys invent", "baryon keys create|invent"]
    assert all(map(problem_with, commands))
    assert not problem_with("baryon keys create\\|list")
    assert not problem_with("baryon status [--why] [--json]")


def problem_with(spoken_command: str) -> str:
    """Brackets mean what may be left out, bars a choice; what is not lower case stands for something."""
    words = re.sub(r"[\[\]]", " ", spoken_command.partition("#")[0].replace("\\|", "|")).split()[1:]
    command: Any = typer.main.get_command(app)
    for word in words:
        commands = getattr(command, "commands", {})
        if commands and re.fullmatch(r"[a-z|]+", word):
            if not set(word.split("|")) <= set(commands):
                return f"{spoken_command}: there is no {word}"
            command = commands[word.split("|")[0]]
        elif word.startswith("-"):
            options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            if word.rstrip(",") not in options:
                return f"{spoken_command}: there is no {word}"
    return ""


def kubectl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    if not KUBECTL.exists():
        pytest.skip("kubectl is not installed: scripts/get_helm.sh fetches it")
    return subprocess.run([str(KUBECTL), *arguments], capture_output=True, text=True, check=False)


def notes() -> str:
    with ApiServer() as server:
        dry = ["install", "baryon", str(CHART), "--dry-run=client", "--disable-openapi-validation"]
        return helm(*dry, "--kube-apiserver", server.url).partition("NOTES:")[2].replace("\n  ", "\n    ")


def of_kubectl(text: str) -> list[list[str]]:
    """Their words before a pipe, and before what is run in a pod."""
    return [list(_up_to_a_pipe(shlex.split(command))) for command in spoken(text, "kubectl") if "…" not in command]


def _up_to_a_pipe(words: list[str]) -> Iterator[str]:
    for word in words[1:]:
        if word in ("|", "--", "&", "<<"):
            return
        yield word


@pytest.mark.parametrize("page", [OF_KUBERNETES, ROOT / "docs" / "runbook.md"], ids=lambda path: path.name)
def test_kubectl_knows_each_command_and_its_options(page: Path) -> None:
    """With --help it reads them all, and then asks no server."""
    refused = [
        (words, done.stderr) for words in of_kubectl(page.read_text()) if (done := kubectl(*words, "--help")).returncode
    ]
    assert refused == []


@pytest.mark.skipif(not binaries(), reason="helm is not installed")
def test_kubectl_knows_each_command_of_the_notes() -> None:
    commands = of_kubectl(notes())
    assert len(commands) >= 6
    assert [words for words in commands if kubectl(*words, "--help").returncode] == []


def test_kubectl_would_refuse_what_is_not_there() -> None:
    assert kubectl("get", "pod", "--wher=x", "--help").returncode
    assert len(of_kubectl(OF_KUBERNETES.read_text())) > 15


@pytest.mark.skipif(not binaries(), reason="helm is not installed")
@pytest.mark.parametrize("binary", binaries(), ids=lambda path: path.name)
def test_helm_knows_each_command_and_its_options(binary: Path) -> None:
    commands = [shlex.split(command)[1:] for command in spoken(OF_KUBERNETES.read_text(), "helm")]
    for words in commands:
        helm(*words, "--help", binary=binary)
    assert {"install", "upgrade", "rollback", "history", "uninstall", "get"} <= {words[0] for words in commands}


@pytest.mark.skipif(not binaries(), reason="helm is not installed")
def test_the_patch_for_more_gpus_finds_its_group(tmp_path: Path) -> None:
    """Of the preset that has a group of that name."""
    (patch,) = re.findall(r"--type=json -p '(.*)'", OF_KUBERNETES.read_text())
    spec = one(rendered(presets=("multi-gpu",)), "RayService")["spec"]["rayClusterConfig"]
    cluster = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "c"}, "spec": spec}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    done = kubectl("patch", "--local", "-f", str(tmp_path / "cluster.yaml"), "--type=json", "-p", patch, "-o", "json")
    assert done.returncode == 0, done.stderr
    bounds = {g["groupName"]: g["maxReplicas"] for g in json.loads(done.stdout)["spec"]["workerGroupSpecs"]}
    assert bounds == {"gateway": 128, "state": 1, "h100": 4, "l4": 4}


@pytest.mark.skipif(not binaries(), reason="helm is not installed")
def test_the_pod_that_restores_a_backup_is_valid_and_has_the_releases_claim_at_its_path() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", OF_KUBERNETES.read_text(), re.DOTALL)
    pod = yaml.safe_load(block)
    state = groups(rendered({"fullnameOverride": "baryon"}))["state"]["template"]["spec"]
    claim = {"name": "lib", "persistentVolumeClaim": {"claimName": "baryon-state"}}
    assert claim in pod["spec"]["volumes"]
    assert claim in state["volumes"]
    assert {"name": "lib", "mountPath": "/var/lib/baryon"} in state["containers"][0]["volumeMounts"]
    user = {key: value for key, value in state["securityContext"].items() if key != "fsGroupChangePolicy"}
    assert pod["spec"]["securityContext"] == user
    validate = kubernetes_validate().validate
    for version in VERSIONS:
        validate(pod, version, strict=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        leads_to = (page.parent / path) if path else page
        if not leads_to.exists() or (anchor and leads_to.suffix == ".md" and anchor not in anchors(leads_to)):
            lost.append(target)
    assert lost == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
