"""`python -m monitoring.dashboards` writes the JSON that is beside this file."""

from pathlib import Path

from monitoring.dashboards import DASHBOARDS
from monitoring.grafana import dashboard_file


def main() -> None:
    for dashboard in DASHBOARDS:
        name, text = dashboard_file(dashboard)
        (Path(__file__).parent / name).write_text(text)


if __name__ == "__main__":
    main()
