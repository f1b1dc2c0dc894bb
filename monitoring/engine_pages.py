"""Many engines' metrics as one page: their lines under labels that tell them apart, grouped by metric."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KEPT = "vllm:"
DROPPED_SUFFIX = "_created"
OURS = ("model", "replica", "node")
THEIRS = re.compile(r"([{,])(" + "|".join(OURS) + r')="')


@dataclass(slots=True)
class Family:
    kind: str
    help: str = ""
    lines: list[str] = field(default_factory=list)


class EnginePages:
    """Text format in, text format or OpenMetrics out, or families for another form. Nothing is parsed but the
    beginnings of lines, whatever they are.

    Only metrics of vLLM's own are taken. `_created` is a metric of its own for each other in this format, and told by
    nobody's dashboard.
    """

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def add(self, page: str, labels: Mapping[str, str]) -> None:
        if any(f'{before}{name}="' in page for name in OURS for before in "{,"):
            page = THEIRS.sub(r'\1exported_\2="', page)
        inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
        helps: dict[str, str] = {}
        lines: list[str] | None = None
        for line in page.split("\n"):
            if line.startswith("# TYPE "):
                lines = self._lines_of(line, helps)
            elif line.startswith("# HELP "):
                name, _, text = line.removeprefix("# HELP ").partition(" ")
                helps[name] = text
            elif line and line[0] != "#" and lines is not None:
                lines.append(_labelled(line, inner))

    def families(self) -> Iterable[tuple[str, Family]]:
        """By name, a counter's without `_total`."""
        return self._families.items()

    def text(self, *, is_open_metrics: bool) -> str:
        parts = []
        for name, family in self._families.items():
            shown = f"{name}_total" if family.kind == "counter" and not is_open_metrics else name
            if family.help:
                parts.append(f"# HELP {shown} {family.help}")
            parts.append(f"# TYPE {shown} {family.kind}")
            parts += family.lines
        return "".join(f"{part}\n" for part in parts)

    def _lines_of(self, type_line: str, helps: Mapping[str, str]) -> list[str] | None:
        name, _, kind = type_line.removeprefix("# TYPE ").partition(" ")
        if not name.startswith(KEPT) or name.endswith(DROPPED_SUFFIX):
            return None
        known_as = name.removesuffix("_total") if kind == "counter" else name
        family = self._families.setdefault(known_as, Family(kind, helps.get(name, "")))
        return family.lines


def _labelled(line: str, inner: str) -> str:
    at = line.find("{")
    if at < 0:
        name, _, rest = line.partition(" ")
        return f"{name}{{{inner}}} {rest}"
    separator = "" if line.startswith("}", at + 1) else ","
    return f"{line[: at + 1]}{inner}{separator}{line[at + 1 :]}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
