"""What makes a folder a model: its files, their sizes and digests."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from engine.weights.errors import ModelStoreError

MANIFEST = "baryon-manifest.json"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size in bytes and sha256 of one file, by its path inside the folder."""

    path: str
    size_bytes: int
    sha256: str


def check_is_model(folder: Path) -> None:
    """Raises:
    ModelStoreError: the folder lacks a config, safetensors weights or a tokenizer.
    """
    if not folder.is_dir():
        raise ModelStoreError(f"{folder} is not a folder")
    if not (folder / "config.json").is_file():
        raise ModelStoreError(f"{folder} has no config.json, so it is not a model folder")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth"))
        why = "; its pickled weights are refused, since loading them can run code" if pickled else ""
        raise ModelStoreError(f"{folder} has no *.safetensors weights{why}")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelStoreError(f"{folder} has no tokenizer (tokenizer.json, tokenizer.model or vocab.json)")


def write_manifest(folder: Path) -> None:
    """Record every file with its digest, and put all of it on the disk for good."""
    records = [
        {"path": str(path.relative_to(folder)), "size_bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    (folder / MANIFEST).write_bytes(orjson.dumps(records, option=orjson.OPT_INDENT_2))
    for path in folder.rglob("*"):
        if path.is_file():
            sync(path)
    sync(folder)


def damage(folder: Path, *, deep: bool) -> str | None:
    """What differs from the manifest, None if nothing: sizes always, digests too when `deep`."""
    try:
        records = [FileRecord(**record) for record in orjson.loads((folder / MANIFEST).read_bytes())]
    except (OSError, orjson.JSONDecodeError, TypeError) as error:
        return f"its manifest cannot be read ({error})"
    for record in records:
        path = folder / record.path
        if not path.is_file():
            return f"{record.path} is missing"
        if path.stat().st_size != record.size_bytes:
            return f"{record.path} has {path.stat().st_size} bytes instead of {record.size_bytes}"
        if deep and sha256(path) != record.sha256:
            return f"{record.path} does not have the recorded sha256"
    return None


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
