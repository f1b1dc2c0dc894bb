"""Schemas that callers bring, and documents checked by them in the gateway."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.recipes.json_schema import KEYWORDS, mismatch, schema_problem

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": ["integer", "null"], "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "address": {"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {"type": "null"}]},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def doubling(depth: int) -> dict[str, Any]:
    """Each definition is asked for twice by the one before it: 2^depth checks."""
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(depth)}
    return {"$defs": {**defs, f"d{depth}": {"type": "string"}}, "$ref": "#/$defs/d0"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize("schema", [PERSON, {}, {"type": "array", "items": PERSON}, {"const": 1}, nested(20)])
def test_a_plain_schema_is_taken(schema: dict[str, Any]) -> None:
    assert schema_problem(schema) is None


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "must be a JSON schema, which is an object"),
        ("{}", "must be a JSON schema"),
        (doubling(60), "'$defs', which recipes do not take"),
        ({"$ref": "#"}, "a $ref that leads back to itself"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "$ref"),
        ({"properties": {"a": {"pattern": "(a|a)*b"}}}, "'pattern', which recipes do not take"),
        ({"uniqueItems": True}, "'uniqueItems'"),
        ({"allOf": [{}]}, "'allOf'"),
        ({"type": "strin"}, "whose 'type' is not of"),
        ({"type": [["string"]]}, "whose 'type' is not of"),
        ({"properties": []}, "whose 'properties' is not"),
        ({"required": "name"}, "whose 'required' is not"),
        ({"anyOf": []}, "whose 'anyOf' is not"),
        ({"minLength": -1}, "whose 'minLength' is not"),
        ({"minimum": "0"}, "whose 'minimum' is not"),
        ({"items": 7}, "neither an object nor true or false"),
        ({"properties": {str(n): {} for n in range(600)}}, "more than 500 parts"),
        ({"enum": list(range(3000))}, "enum of more than 2048"),
        ({"maxLength": 10**9}, "maxLength of more than"),
        ({"description": "x" * 200_000}, "more than 128 KiB"),
        (nested(40), "nested more than 32 deep"),
    ],
)
def test_a_schema_that_explodes_or_is_none_is_refused(schema: Any, words: str) -> None:
    problem = schema_problem(schema)
    assert problem is not None
    assert words in problem


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"name": "Ada", "age": 36, "tags": ["a"], "address": None}, None),
        ({"name": "Ada", "age": -1}, "age: "),
        ({"name": "Ada", "tags": ["a", "c"]}, "tags[1]: "),
        ({"age": 3}, "the document: "),
        ({"name": "Ada", "other": 1}, "the document: "),
        ([], "the document: "),
    ],
)
def test_where_a_document_does_not_satisfy_its_schema_is_told(document: Any, where: str | None) -> None:
    problem = mismatch(PERSON, document)
    assert (problem is None) if where is None else (problem is not None and problem.startswith(where))


json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["string", "object", "array", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*sorted(KEYWORDS), "a"]), inner),
    max_leaves=12,
)


@given(json, json)
def test_whatever_is_taken_checks_any_document(schema: Any, document: Any) -> None:
    if schema_problem(schema) is None:
        assert mismatch(schema, document) is None or isinstance(mismatch(schema, document), str)
