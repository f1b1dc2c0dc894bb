"""The cluster's secret: 256 random bits in a file of its own beside the state file, which only its owner can read.

Whoever has the state file alone can neither use a key nor find out whose a key at hand is.
"""

import contextlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class ClusterSecret:
    """What is derived of it: `pepper` for keys, `salt` for prefix caches, and what tells it from another one."""

    pepper: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    check: bytes


def secret_path(state_path: Path) -> Path:
    return state_path.with_suffix(".secret")


def cluster_secret(state_path: Path) -> ClusterSecret:
    """Made if there is none yet; the same for two that make it at once.

    Raises:
        OSError: it cannot be read or written.
    """
    path = secret_path(state_path)
    if not path.exists():
        _make(path)
    path.chmod(0o600)
    secret = path.read_bytes()

    def derived(use: bytes) -> bytes:
        return hmac.digest(secret, use, "sha256")

    return ClusterSecret(derived(b"api keys"), derived(b"cache salts"), derived(b"check"))


def _make(path: Path) -> None:
    """Whole or not at all, and never over one that is there."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
