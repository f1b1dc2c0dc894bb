"""A recipe's answer with the caller's personal data in it again."""

from typing import Any

import orjson

from deployments.gateway.privacy.restoration import Restoration


def restored_answer(body: bytes, restoration: Restoration) -> bytes:
    """Places of an explanation's segments become those in the text that the caller sent."""
    document = restoration.document(orjson.loads(body))
    explanation = document.get("explanation")
    if isinstance(explanation, dict):
        explanation["segments"] = placed(explanation["segments"])
    return orjson.dumps(document)


def placed(segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """They follow one another without a gap, from the beginning."""
    moved, begin = [], 0
    for segment in segments:
        end = begin + len(segment["text"])
        moved.append({**segment, "begin": begin, "end": end})
        begin = end
    return moved
