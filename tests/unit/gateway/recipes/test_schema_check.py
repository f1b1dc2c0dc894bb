"""A caller's schema does not keep others waiting, however long it takes to compare an answer with it."""

import threading
from typing import Any

import pytest

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes import schema_check
from deployments.gateway.recipes.json_schema import mismatch, schema_problem
from deployments.gateway.recipes.schema_check import SchemaCheck, size

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
MANY_WAYS = {"type": "array", "items": {"anyOf": [{"const": f"v{n}"} for n in range(490)]}}
MANY_NAMES = {"items": {"anyOf": [{"required": [f"k{n}" for n in range(8000)]}, {}]}}


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def watched(schema: dict[str, Any], document: Any) -> str | None:
        seen.append(threading.current_thread().name)
        return mismatch(schema, document)

    monkeypatch.setattr(schema_check, "mismatch", watched)
    return seen


async def test_a_small_document_is_compared_at_once(threads: list[str]) -> None:
    check = SchemaCheck()
    assert await check.problem(PERSON, {"name": "Ada"}) is None
    assert await check.problem(PERSON, {"name": 7}) == "name: 7 is not of type 'string'"
    assert set(threads) == {threading.main_thread().name}


async def test_what_takes_longer_is_compared_in_a_thread(threads: list[str]) -> None:
    assert await SchemaCheck().problem(MANY_WAYS, ["v489"] * 10) is None
    assert threads == ["schema_0"]


@pytest.mark.parametrize(("schema", "document"), [(MANY_WAYS, ["v489"] * 2000), (MANY_NAMES, [{}] * 100)])
async def test_what_would_take_seconds_is_refused(schema: dict[str, Any], document: Any, threads: list[str]) -> None:
    assert schema_problem(schema) is None
    with pytest.raises(GatewayError) as refused:
        await SchemaCheck().problem(schema, document)
    assert (refused.value.status, refused.value.code) == (422, "schema_check_too_long")
    assert not threads


def test_every_value_of_a_document_counts() -> None:
    assert [size(one) for one in (1, [], [1, 2], {"a": [1, {"b": None}]})] == [1, 1, 3, 5]
