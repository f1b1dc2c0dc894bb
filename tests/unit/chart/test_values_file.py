"""The values file says what there is, the chart uses all it says, and its copies are up to date."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from scripts.chart_files import chart_files
from tests.unit.chart.helm import CHART

TEXT = (CHART / "values.yaml").read_text()
TEMPLATES = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))


def keys_of(document: dict[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        yield name
        if isinstance(value, dict) and name not in ("resources", "podSecurityContext", "securityContext", "labels"):
            yield from keys_of(value)


def test_what_the_chart_has_from_elsewhere_is_up_to_date() -> None:
    stale = [path.name for path, text in chart_files().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run python scripts/chart_files.py"


def test_every_section_is_described() -> None:
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-zA-Z]+:", line) and not lines[number - 1].startswith("#"):
            section = "\n".join(lines[number : number + 3])
            assert "  #" in section or line.startswith(("annotations", "schedulerName", "securityContext")), line


def test_every_value_is_used() -> None:
    values = yaml.safe_load(TEXT)
    for free in ("models", "gpuProfiles"):
        values.pop(free)
    unused = {name for name in keys_of(values) if not re.search(rf"[.\"]{re.escape(name)}\b", TEMPLATES)}
    assert (
        unused
        - {"nvidia.com/gpu.product", "grafana_dashboard", "cpu", "cluster-autoscaler.kubernetes.io/safe-to-evict"}
        == set()
    )
