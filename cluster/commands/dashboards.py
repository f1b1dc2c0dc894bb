"""`baryon dashboards`: Grafana's dashboards, alerts, and the files by which Grafana and Prometheus find them."""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.output import BAD_INPUT, console, fail

SOURCE = files("monitoring")
FOLDERS = ("dashboards", "alerts", "provisioning/dashboards", "provisioning/datasources", ".")
EXPORTED = (".json", ".yaml")

dashboards = typer.Typer(help="Grafana dashboards and Prometheus alerts.", no_args_is_help=True)


@dashboards.callback()
def group() -> None:
    """So that `export` is a word of its own."""


@dashboards.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where the files go; made if it is not there.")],
    prometheus: Annotated[str, typer.Option(help="Prometheus, as Grafana reaches it.")] = "http://127.0.0.1:9090",
    exporter: Annotated[
        str, typer.Option(help="One node's exporter, as Prometheus reaches it.")
    ] = "http://127.0.0.1:9464",
    runbook: Annotated[str, typer.Option(help="Where alerts link to.")] = "docs/runbook.md",
) -> None:
    """Dashboards, alerts, and what provisions them, with addresses filled in.

    Example: baryon dashboards export /etc/baryon-monitoring --prometheus http://prometheus:9090
    """
    folder = folder.absolute()
    words = {
        "${BARYON_DASHBOARDS}": str(folder / "dashboards"),
        "${BARYON_PROMETHEUS}": prometheus,
        "http://127.0.0.1:9464": exporter.rstrip("/"),
        "docs/runbook.md#": f"{runbook}#",
    }
    try:
        written = [path for name in FOLDERS for path in _export(SOURCE / name, folder / name, words)]
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", BAD_INPUT)
    console.print(f"{len(written)} files in {folder}")
    console.print(f"  prometheus --config.file={folder / 'prometheus.yaml'}")
    console.print(f"  GF_PATHS_PROVISIONING={folder / 'provisioning'} grafana server")


def _export(source: Traversable, folder: Path, words: Mapping[str, str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file in source.iterdir():
        if not file.name.endswith(EXPORTED):
            continue
        text = file.read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        written.append(folder / file.name)
        written[-1].write_text(text)
    return written
