"""What the audit log gets to know of a command: who gave it, and a configuration without its secrets."""

import getpass
import os
import re
import socket
from collections.abc import Mapping
from typing import Any

HIDDEN = "(hidden)"
SECRET_WORDS = frozenset({"token", "secret", "password", "passwd", "credential", "credentials", "authorization"})
SECRET_ENDS = ("api_key", "access_key", "private_key")
USER_IN_URL = re.compile(r"://[^/@\s]+@")


def actor() -> str:
    """The operating system's user, and the host: as good as whoever runs the command lets it be."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def without_secrets(document: Any) -> Any:
    """Values whose name says that they are secret are hidden, and so are the users in URLs."""
    if isinstance(document, Mapping):
        return {name: HIDDEN if is_secret(name) else without_secrets(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [without_secrets(value) for value in document]
    return USER_IN_URL.sub(f"://{HIDDEN}@", document) if isinstance(document, str) else document


def is_secret(name: str) -> bool:
    """`hf_token` is, `max_num_batched_tokens` is not."""
    words = re.split(r"[^a-z0-9]+", str(name).lower())
    return not SECRET_WORDS.isdisjoint(words) or "_".join(words).endswith(SECRET_ENDS)
