"""The image has what KubeRay and the chart take for granted. It is not built here."""

import re
import tomllib

import yaml

from tests.unit.chart.helm import CHART, ROOT

DOCKERFILE = (ROOT / "k8s" / "Dockerfile").read_text()
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))


def test_both_targets_run_as_the_charts_user() -> None:
    user = yaml.safe_load((CHART / "values.yaml").read_text())["podSecurityContext"]
    for target in ("cpu", "cuda"):
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in STAGES[target]
    assert f"--uid {user['runAsUser']}" in STAGES["base"]


def test_kuberays_probes_find_wget_and_its_commands_bash() -> None:
    assert {"bash", "wget"} <= set(STAGES["base"].split())


def test_each_target_installs_its_lock_and_nothing_beside_it() -> None:
    assert "--no-deps --torch-backend cpu -r requirements/cpu.txt" in STAGES["build-cpu"]
    assert "--no-deps -r requirements/gpu.txt" in STAGES["build-cuda"]
    installs = [line for line in DOCKERFILE.splitlines() if "pip install" in line]
    assert all("--no-deps" in part for line in installs for part in line.split("&&") if "pip install" in part)


def test_every_package_of_ours_is_in_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = [name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    ignored = (ROOT / "k8s" / "Dockerfile.dockerignore").read_text().split()
    for package in packages:
        assert f"COPY {package} {package}" in DOCKERFILE
        assert f"!{package}" in ignored


def test_the_versions_of_ray_agree() -> None:
    ray = yaml.safe_load((CHART / "values.yaml").read_text())["rayVersion"]
    for lock in ("cpu", "gpu"):
        assert f"ray=={ray}" in (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines()


def test_the_chart_is_of_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == project["version"]
