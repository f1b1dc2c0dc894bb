"""Does a document satisfy a schema? Asked where no other request waits for the answer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes.json_schema import mismatch, parts

MOST_WORK_AT_ONCE = 1_000
MOST_WORK = 300_000
VALUES_AT_ONCE = 32


class SchemaCheck:
    """A comparison of a part of a schema with a part of a document takes up to 30 µs (jsonschema 4.26). What may take
    longer than a moment is done in a thread, one after another.
    """

    def __init__(self) -> None:
        self._aside = ThreadPoolExecutor(1, "schema")

    async def problem(self, schema: dict[str, Any], document: Any) -> str | None:
        """Where the document does not satisfy the schema, and how; None if it does.

        Raises:
            GatewayError: 422, it would take seconds to find out.
        """
        work = weight(schema) * size(document)
        if work > MOST_WORK:
            message = (
                "The answer is too long to be checked by so large a schema. Ask for less, or take a simpler schema."
            )
            raise GatewayError(422, "schema_check_too_long", message)
        if work <= MOST_WORK_AT_ONCE:
            return mismatch(schema, document)
        return await asyncio.get_running_loop().run_in_executor(self._aside, mismatch, schema, document)


def weight(schema: dict[str, Any]) -> int:
    """How much there is to compare one value with."""
    return sum(
        1 + len(part.get("required", ())) + len(part.get("enum", ())) // VALUES_AT_ONCE
        for part in parts(schema)
        if isinstance(part, dict)
    )


def size(document: Any) -> int:
    """How many values there are in it, itself included."""
    count, left = 0, [document]
    while left:
        one = left.pop()
        count += 1
        if isinstance(one, dict | list):
            left += one.values() if isinstance(one, dict) else one
    return count
