"""Which strings of a request are encoded media: they stay as they are, and nobody reads them."""

from typing import Any

URLS = frozenset({"url", "image_url", "audio_url", "video_url", "file_url", "file_data"})
ENCODED = "data:"


def is_medium(holder: dict[str, Any], key: str) -> bool:
    """`holder[key]` is a data URI where one belongs, or base64 of `input_audio` or of Anthropic's `source`."""
    value = holder[key]
    if not isinstance(value, str):
        return False
    if key in URLS:
        return value[: len(ENCODED)].lower() == ENCODED
    return key == "data" and (holder.get("type") == "base64" or "format" in holder)
