"""Schemas, expressions and grammars that would keep an engine busy."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.body_rules.grammar import response_format, structured_outputs, tools, with_format
from deployments.gateway.body_rules.regex import regex_problem
from deployments.gateway.body_rules.schema import schema_problem

PATHOLOGICAL = [
    "(a+)+b",
    "(a*)*",
    "((a*)*)*b",
    "(a+){2,}",
    "(?:a+)+",
    "(?P<x>a+)+",
    "([ab]+)*",
    r"(\x61+)+",
    r"(\w+\b)*",
    "(a+b?)+",
    "(a+a)+",
    "(x|a+)+",
    "((a+)?)+",
    "((a+)(b*))+",
    "a{1001}",
    "a{0,999999999}",
    "((a{100}){100}){2}",
    "(a{1,100}){1,101}",
    "a{100}{100}{100}",
    "[a-z]{1000}+*",
    "a+*",
    "(" * 20 + "a" + ")" * 20,
    r"(a)\1",
    r"(?P<x>a)\k<x>",
    "(?=a)",
    "(?<!a)b",
    "(?i)a",
    "a" * 2049,
    "(a",
    "a)",
    "[a",
    "a\\",
]
HARMLESS = [
    "",
    "[a-z]+",
    "([a-z]+,)*[a-z]+",
    "(,[a-z]+)*",
    r"\d{1,3}(\.\d{1,3}){3}",
    r"[\w.+-]+@[\w-]+\.[\w.-]+",
    r"(yes|no|maybe)",
    r"\(\d{3}\) \d{3}-\d{4}",
    r"(?:\d{4}-\d{2}-\d{2}T)?\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?Z",
    r"[]a]+",
    r"[^]]*",
    r"\p{Lu}\p{Ll}+(?: \p{Lu}\p{Ll}+)*",
    "{",
    "a{,}b",
    "a*b*c*",
    "a*?b++c{2}?",
    "a{2}{b",
]


@pytest.mark.parametrize("pattern", PATHOLOGICAL, ids=lambda pattern: pattern[:20])
def test_a_pathological_expression_is_refused(pattern: str) -> None:
    assert regex_problem(pattern)


@pytest.mark.parametrize("pattern", HARMLESS)
def test_a_harmless_expression_is_not(pattern: str) -> None:
    assert regex_problem(pattern) is None


@given(st.text(alphabet="ab()[]{}*+?|\\,0123^$.:<>P=k", max_size=60))
def test_any_text_gets_a_verdict(pattern: str) -> None:
    assert regex_problem(pattern) is None or regex_problem(pattern)


BAD_SCHEMAS: dict[str, Any] = {
    "a loop": {"$ref": "#"},
    "a loop of two": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "a loop through anyOf": {"$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
    "a loop that nothing uses yet": {"properties": {"x": {"allOf": [{"$ref": "#/properties/x"}]}}},
    "a file": {"$ref": "file:///etc/passwd"},
    "a remote schema": {"properties": {"x": {"$ref": "http://169.254.169.254/"}}},
    "a relative one": {"$ref": "other.json#/a"},
    "a pattern": {"type": "string", "pattern": "(a+)+"},
    "a pattern of names": {"patternProperties": {"(a*)*": {}}},
    "repetition": {"type": "string", "maxLength": 10**9},
    "an enum": {"enum": list(range(2049))},
    "properties": {"properties": {f"{n}": {} for n in range(1025)}},
    "size": {"description": "x" * 200_000},
}
GOOD_SCHEMAS: dict[str, Any] = {
    "a tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
    "definitions": {"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}}},
    "two users of one": {"$defs": {"a": {}}, "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]},
    "a dangling reference": {"properties": {"x": {"$ref": "#/$defs/none"}}},
    "properties named like keywords": {"properties": {"$ref": {}, "pattern": {}, "enum": {}, "maxLength": {}}},
    "a pattern": {"pattern": "^[a-z]+$", "maxLength": 100},
    "many properties": {"properties": {f"{n}": {"type": "string", "description": "x" * 50} for n in range(1024)}},
}


@pytest.mark.parametrize("schema", list(BAD_SCHEMAS.values()), ids=list(BAD_SCHEMAS))
def test_a_schema_that_costs_an_engine_is_refused_wherever_it_stands(schema: Any) -> None:
    assert schema_problem(schema)
    assert tools([{"type": "function", "function": {"name": "f", "parameters": schema}}])
    assert tools([{"type": "function", "name": "f", "parameters": schema}])
    assert tools([{"name": "f", "input_schema": schema}])
    assert response_format({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}})
    assert with_format({"format": {"type": "json_schema", "schema": schema}})
    assert structured_outputs({"json": schema})


@pytest.mark.parametrize("schema", list(BAD_SCHEMAS.values()), ids=list(BAD_SCHEMAS))
def test_no_second_place_for_a_schema_hides_the_one_that_an_engine_reads(schema: Any) -> None:
    """An engine of one API passes over what belongs to another one."""
    assert tools([{"type": "function", "name": "f", "parameters": schema, "function": {}}])
    assert tools([{"name": "f", "input_schema": schema, "function": {"parameters": {}}}])
    assert tools([{"type": "function", "function": {"name": "f", "parameters": schema}, "parameters": {}}])
    inner = {"type": "function", "name": "f", "parameters": schema}
    assert tools([{"type": "namespace", "name": "n", "tools": [inner]}])
    assert with_format({"format": {"type": "json_schema", "name": "s", "schema": schema, "json_schema": {}}})
    assert response_format({"type": "json_schema", "schema": {}, "json_schema": {"name": "s", "schema": schema}})


def test_tools_within_tools_count() -> None:
    space = {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}] * 128}
    assert tools([space]) is None
    assert "256" in str(tools([space, space]))
    assert tools([{"type": "namespace", "name": "n", "tools": [{"server_url": "https://example.com"}]}])


@pytest.mark.parametrize("schema", list(GOOD_SCHEMAS.values()), ids=list(GOOD_SCHEMAS))
def test_what_schemas_are_used_for_is_not(schema: Any) -> None:
    assert schema_problem(schema) is None


DEEP_GRAMMAR = "root ::= " + "(" * 17 + '"a"' + ")" * 17
DEEP_GRAMMAR_TAG = {"type": "structural_tag", "format": {"type": "grammar", "grammar": DEEP_GRAMMAR}}
DEEP_TEXT = '{"properties": {"a": ' * 450 + "{}" + "}}" * 450


@pytest.mark.parametrize(
    "value",
    [
        {"regex": "(a+)+"},
        {"regex": 3},
        {"whitespace_pattern": "( *)*"},
        {"json": '{"pattern":"(a+)+"}'},
        {"json": "{"},
        {"choice": ["x"] * 2049},
        {"choice": ["x" * 100_000]},
        {"choice": [1]},
        {"grammar": DEEP_GRAMMAR},
        {"grammar": "x" * 70_000},
        {"structural_tag": '{"structures":[{"schema":{"pattern":"(a+)+"}}]}'},
        {"structural_tag": DEEP_GRAMMAR_TAG},
        {"structural_tag": orjson.dumps(DEEP_GRAMMAR_TAG).decode()},
        {"structural_tag": DEEP_TEXT},
        {"structural_tag": "{"},
        {"json": DEEP_TEXT},
        {"json": "[" * 900 + "]" * 900},
        {"json": "\ud800"},
        {"_backend": "outlines"},
        {"disable_fallback": True},
        "x",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_structured_outputs_that_cost_an_engine_are_refused(value: Any) -> None:
    assert structured_outputs(value)


@pytest.mark.parametrize(
    "value",
    [{"regex": "[a-z]+"}, {"choice": ["a", "b"]}, {"grammar": 'root ::= "yes" | "no"'}, {"json_object": True}, {}],
)
def test_structured_outputs_otherwise_are_not(value: Any) -> None:
    assert structured_outputs(value) is None


def test_a_structural_tag_is_searched_for_schemas() -> None:
    tag = {"type": "structural_tag", "structures": [{"begin": "<a>", "schema": {"pattern": "(a+)+"}, "end": "</a>"}]}
    assert response_format(tag)
    assert tools([{"type": "function", "function": {"name": "f", "parameters": None}}, {"type": "custom"}]) is None
