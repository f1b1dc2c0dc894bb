"""What people write for times, limits and keys."""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from deployments.gateway.tenants.tenant import Privacy, ShowText
from deployments.key_changes import LIMITS

DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([smhd])")
SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
KEY_ID = re.compile(r"(?:baryon_)?([0-9a-f]{16})(?:_.*)?")


MODEL_NAME = re.compile(r"[\w./:@+-]{1,200}")
LONGEST_SHOWN = 64


class KeyWordError(Exception):
    """It is not understood; the message says what would be."""


def duration_s(words: str) -> float:
    """Raises:
    KeyWordError: not like `30m`.
    """
    match = DURATION.fullmatch(words)
    if words != "0" and match is None:
        raise KeyWordError(f"{words!r} is not a time like 90s, 30m, 12h or 7d")
    return float(match[1]) * SECONDS[match[2]] if match else 0.0


def instant_s(words: str, now_s: float) -> float:
    """A time from now, or the beginning of a day here; in seconds of the wall clock.

    Raises:
        KeyWordError: neither, or not in the future.
    """
    try:
        at_s = now_s + duration_s(words)
    except KeyWordError:
        try:
            at_s = datetime.fromisoformat(words).timestamp()
        except (ValueError, OverflowError):
            raise KeyWordError(f"{words!r} is neither a time like 12h or 90d nor a date like 2027-01-31") from None
    if not math.isfinite(at_s) or at_s <= now_s:
        raise KeyWordError(f"{words!r} is not in the future")
    return at_s


def limit_or_none(words: str) -> int | None:
    """Raises:
    KeyWordError: neither a count nor `none`.
    """
    if words.lower() == "none":
        return None
    if not re.fullmatch(r"0|[1-9][0-9]{0,14}", words):
        raise KeyWordError(f"{words!r} is neither a count nor `none`")
    return int(words)


def key_id_of(words: str) -> str:
    """The id, with or without what comes before and after it in the key.

    Raises:
        KeyWordError: no id. What was given is not repeated: it may be a key.
    """
    match = KEY_ID.fullmatch(words)
    if match is None:
        raise KeyWordError("a key is named by its id: 16 hexadecimal digits, which `baryon keys list` shows")
    return match[1]


def settings_said(
    limits: Sequence[str | None],
    priority: int | None,
    models: list[str] | None,
    privacy: Privacy | None,
    show_text: ShowText | None,
    *,
    all_models: bool,
) -> dict[str, Any]:
    """What of `SetLimits` was said; `limits` in the order of `LIMITS`.

    Raises:
        KeyWordError: see `limit_or_none`; or some models and all of them, or a name that no model can have.
    """
    said: dict[str, Any] = {
        name: limit_or_none(words) for name, words in zip(LIMITS, limits, strict=True) if words is not None
    }
    if priority is not None:
        said["priority"] = priority
    if privacy is not None:
        said["privacy"] = privacy
    if show_text is not None:
        said["show_text"] = show_text
    for name in models or ():
        if not MODEL_NAME.fullmatch(name):
            shown = name[:LONGEST_SHOWN]
            raise KeyWordError(f"{shown!r} cannot be a model's name, which has letters, digits and . / : @ + - _ only")
    if models and all_models:
        raise KeyWordError("--model and --all-models exclude each other")
    if models or all_models:
        said["models"] = None if all_models else models
    return said
