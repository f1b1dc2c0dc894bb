"""What a dashboard is made of, before it is Grafana's JSON."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

Kind = Literal["timeseries", "stat", "bargauge", "heatmap", "state-timeline", "table"]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` names its series by their labels, `{{model}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `at` on the value has this colour."""

    at: float
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """`id` is part of the address under which a panel is embedded, so it stays when panels are moved.

    `quiet` is shown where there is no data and that is no fault; `needs` says what a machine without data lacks.
    """

    id: int
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    thresholds: tuple[Threshold, ...] = ()
    highest: float | None = None
    quiet: str = "nothing yet"
    needs: str = ""


stat = partial(Panel, kind="stat", width=4, height=5)
"""One number, six to a row."""


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: the values of `label` in `metric`."""

    name: str
    metric: str
    label: str
    several: bool = True


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


GOOD_ABOVE = (Threshold(0.0, "red"), Threshold(0.95, "orange"), Threshold(0.99, "green"))
SOME_IS_BAD = (Threshold(0.0, "green"), Threshold(1e-9, "orange"))
NONE_IS_BAD = (Threshold(0.0, "red"), Threshold(1.0, "green"))
NEARLY_FULL = (Threshold(0.0, "green"), Threshold(0.85, "orange"), Threshold(0.95, "red"))
