"""The document says what the gateway does."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from deployments.gateway.body_rules.fields import REFUSED
from deployments.gateway.errors import GatewayError
from deployments.gateway.openapi import document
from deployments.gateway.recipes.shelf import shipped
from engine.guard import GENERATION_ROUTES
from tests.unit.gateway.test_body_rules import BASE, OUT_OF_BOUNDS, PROMISED, sent_on

CLIENT_LEFT = "499"
ROOT = Path(__file__).parents[3]


def schema(path: bytes) -> Any:
    return document()["paths"][path.decode()]["post"]["requestBody"]["content"]["application/json"]["schema"]


def test_the_copy_in_docs_is_this_one() -> None:
    written = orjson.loads((ROOT / "docs" / "openapi.json").read_bytes())
    assert written == document(), "python -m deployments.gateway.openapi > docs/openapi.json"


def test_it_has_every_status_that_clients_are_told() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "deployments" / "gateway").rglob("*.py"))
    told = {status for status in re.findall(r"GatewayError\(\s*(\d{3}),", sources) if status != CLIENT_LEFT}
    assert {"400", "502", "504"} <= told <= document()["components"]["responses"].keys()


def test_it_has_every_route_and_no_field_that_is_refused() -> None:
    for _, path in GENERATION_ROUTES:
        assert REFUSED.keys().isdisjoint(schema(path)["properties"])


@pytest.mark.parametrize(("path", "more"), PROMISED, ids=lambda value: repr(value)[:40])
def test_what_applications_use_is_valid_by_it(path: bytes, more: dict[str, Any]) -> None:
    jsonschema.validate({"model": "m", **BASE[path], **more}, schema(path))


@pytest.mark.parametrize(("path", "field", "value"), OUT_OF_BOUNDS, ids=lambda value: repr(value)[:40])
def test_what_it_forbids_the_gateway_refuses(path: bytes, field: str, value: Any) -> None:
    try:
        jsonschema.validate({"model": "m", **BASE[path], field: value}, schema(path))
    except jsonschema.ValidationError:
        with pytest.raises(GatewayError):
            sent_on(path, {field: value})


@pytest.mark.parametrize("name", sorted(shipped()))
def test_each_shipped_recipe_is_there_with_what_it_takes(name: str) -> None:
    taken = schema(f"/v1/recipes/{name}".encode())
    fields = shipped()[name].recipe.inputs
    least = {
        field.name: {"text": "a", "labels": ["a", "b"], "schema": {}}[field.type]
        for field in fields
        if not field.may_be_left_out
    }
    jsonschema.validate({"inputs": least, "model": None, "explain": True}, taken)
    for wrong in ({}, {"inputs": {}}, {"inputs": {**least, "other": 1}}, {"inputs": least, "other": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, taken)
