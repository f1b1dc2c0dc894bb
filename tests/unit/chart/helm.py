"""The real helm: those that scripts/get_helm.sh put in .tools, or the one on PATH."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "k8s" / "chart"
TYPES_WITHOUT_CLUSTER = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1")
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Document = dict[str, Any]


class HelmRefused(Exception):
    """What it wrote to stderr."""


def binaries() -> list[Path]:
    fetched = sorted((ROOT / ".tools").glob("helm*"))
    installed = shutil.which("helm")
    return fetched or ([Path(installed)] if installed else [])


def helm(*arguments: str, binary: Path | None = None, stdin: str = "", env: dict[str, str] | None = None) -> str:
    command = [str(binary or binaries()[-1]), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, env=env)
    if done.returncode:
        raise HelmRefused(done.stderr)
    return done.stdout


def rendered(
    values: Document | None = None, *arguments: str, presets: tuple[str, ...] = (), chart: Path = CHART, **how: Any
) -> list[Document]:
    """Objects of the chart with these presets, and these values over them."""
    files = [word for preset in presets for word in ("-f", str(CHART / f"values-{preset}.yaml"))]
    given = yaml.safe_dump(values or {})
    text = helm("template", "demo", str(chart), *files, "-f", "-", *arguments, stdin=given, **how)
    return [document for document in yaml.load_all(text, YAML) if document]


def one(objects: list[Document], kind: str, name: str | None = None) -> Document:
    (found,) = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    return found


def serve_document(objects: list[Document]) -> Document:
    return yaml.load(one(objects, "RayService")["spec"]["serveConfigV2"], YAML)


def groups(objects: list[Document]) -> dict[str, Document]:
    """Worker groups by name, and the head's."""
    cluster = one(objects, "RayService")["spec"]["rayClusterConfig"]
    return {"head": cluster["headGroupSpec"], **{g["groupName"]: g for g in cluster["workerGroupSpecs"]}}
