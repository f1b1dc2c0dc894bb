"""A recipe's answer with the caller's personal data in it again."""

from typing import Any

import orjson

from deployments.gateway.errors import GatewayError
from deployments.gateway.privacy.restoration import Restoration
from deployments.gateway.recipes.schema_check import SchemaCheck


def restored_answer(body: bytes, restoration: Restoration) -> bytes:
    """Places of an explanation's segments become those in the text that the caller sent."""
    document = restoration.document(orjson.loads(body))
    explanation = document.get("explanation")
    if isinstance(explanation, dict):
        explanation["segments"] = placed(explanation["segments"])
    return orjson.dumps(document)


async def check_restored(check: SchemaCheck, restoration: Restoration, document: Any, schema: dict[str, Any]) -> None:
    """`schema`: the caller's own.

    Raises:
        GatewayError: 422, what satisfied it with placeholders does not with the data.
    """
    if problem := await check.problem(schema, restoration.document(document)):
        message = f"With the personal data in it again, the answer does not satisfy the schema: {problem}"
        raise GatewayError(422, "schema_not_satisfied", message)


def placed(segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """They follow one another without a gap, from the beginning."""
    moved, begin = [], 0
    for segment in segments:
        end = begin + len(segment["text"])
        moved.append({**segment, "begin": begin, "end": end})
        begin = end
    return moved
