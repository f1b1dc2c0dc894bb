"""The image is built from the locks without resolving: they hold what we import, and what that needs in turn."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.chart.helm import ROOT

OURS = ("cluster", "deployments", "engine", "monitoring")
LOCKS = ("cpu", "gpu")
OF_DRIVERS = {"pynvml": "nvidia-ml-py"}
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}


@cache
def lock(name: str) -> dict[str, str]:
    """Each distribution and its version."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name.partition("[")[0]): version for name, version in pins}


def imported() -> dict[str, set[str]]:
    """Third-party modules, and the files that import them, in functions too."""
    found: dict[str, set[str]] = {}
    for path in (path for package in OURS for path in (ROOT / package).rglob("*.py")):
        for module in _modules(ast.parse(path.read_text())):
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in OURS:
                found.setdefault(top, set()).add(str(path.relative_to(ROOT)))
    return found


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def needed_by(name: str, extra: str = "") -> list[Requirement]:
    requirements = [Requirement(text) for text in distribution(name).requires or ()]
    return [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": extra})]


def with_extras(requirements: list[Requirement]) -> list[Requirement]:
    """`ray[serve]` asks for what `serve` is, too."""
    of_extras = [
        more
        for one in requirements
        for extra in one.extras
        if _is_here(one.name)
        for more in needed_by(one.name, extra)
    ]
    return [*requirements, *of_extras]


@pytest.mark.parametrize("name", LOCKS)
def test_it_pins_every_line_to_one_version(name: str) -> None:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    loose = [
        line for line in lines if line and not re.fullmatch(r"#.*|[A-Za-z0-9._-]+(\[[a-z,]+\])?==[A-Za-z0-9.+!]+", line)
    ]
    assert loose == []
    assert len(lock(name)) == len([line for line in lines if line and not line.startswith("#")])


@pytest.mark.parametrize("name", LOCKS)
def test_it_holds_what_every_import_of_ours_is_of(name: str) -> None:
    homes = packages_distributions()
    missing = {
        module: files
        for module, files in imported().items()
        if not ({canonicalize_name(home) for home in homes.get(module, ())} & set(lock(name)))
        if module not in OF_DRIVERS or (name == "gpu" and OF_DRIVERS[module] not in lock(name))
    }
    assert missing == {}


def test_an_import_of_nothing_pinned_would_be_seen() -> None:
    assert {"phonenumbers", "stdnum", "jinja2", "jsonschema", "ray", "pynvml"} <= set(imported())
    assert {canonicalize_name(home) for home in packages_distributions()["pytest"]}.isdisjoint(lock("cpu"))


@pytest.mark.parametrize("name", LOCKS)
def test_it_satisfies_what_the_project_asks_for(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert unsatisfied(name, [Requirement(text) for text in project["dependencies"]]) == []


@pytest.mark.parametrize("name", LOCKS)
def test_it_satisfies_what_its_own_packages_ask_for(name: str) -> None:
    """By the metadata of those that are installed here in its version: all of the CPU's, most of the GPU's."""
    known = [one for one, version in lock(name).items() if _is_installed(one, version)]
    problems = {one: unsatisfied(name, needed_by(one)) for one in known}
    assert {one: words for one, words in problems.items() if words} == {}
    assert len(known) > 100


def unsatisfied(name: str, requirements: list[Requirement]) -> list[str]:
    pins = lock(name)
    return [
        str(one)
        for one in with_extras(requirements)
        if not (name == "cpu" and canonicalize_name(one.name) in LEFT_OUT)
        if not one.specifier.contains(pins.get(canonicalize_name(one.name), "0.dev0"), prereleases=True)
        or canonicalize_name(one.name) not in pins
    ]


def _is_installed(name: str, version: str) -> bool:
    return _is_here(name) and distribution(name).version == version


def _is_here(name: str) -> bool:
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def test_both_locks_have_one_version_of_what_we_import() -> None:
    homes = packages_distributions()
    ours = {canonicalize_name(home) for module in imported() for home in homes.get(module, ())}
    both = {one for one in ours if one in lock("cpu") and one in lock("gpu")} - {"torch"}
    assert {one: (lock("cpu")[one], lock("gpu")[one]) for one in both if lock("cpu")[one] != lock("gpu")[one]} == {}
