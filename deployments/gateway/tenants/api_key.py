"""An API key: `baryon_`, an id that may be shown, and 256 random bits that may not."""

import hashlib
import hmac
import re
import secrets

SECRET_BYTES = 32
ID_BYTES = 8
SHAPE = re.compile(rb"baryon_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")


def new_api_key() -> tuple[str, str]:
    """Its id, and the whole key."""
    key_id = secrets.token_hex(ID_BYTES)
    return key_id, f"baryon_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def id_of(key: bytes) -> str | None:
    """None if it is no key of ours, which is found out without any hashing."""
    match = SHAPE.fullmatch(key)
    return match[1].decode() if match else None


def fingerprint(key: bytes) -> bytes:
    """What the command that makes a key tells of it: the key itself goes nowhere but to who asked for it."""
    return hashlib.sha256(key).digest()


def digest(pepper: bytes, key_fingerprint: bytes) -> bytes:
    """What is stored. Without the pepper it says nothing, not even whether a key at hand is this one."""
    return hmac.digest(pepper, key_fingerprint, "sha256")
