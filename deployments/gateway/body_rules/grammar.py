"""What constrains an answer: schemas, tools, expressions, grammars."""

from typing import Any

import orjson

from deployments.gateway.body_rules.regex import regex_problem
from deployments.gateway.body_rules.schema import LARGEST_BYTES, is_worth_a_look, schema_problem

LARGEST_GRAMMAR_BYTES = 64 * 1024
DEEPEST_GRAMMAR = 16
MOST_CHOICES = 2048
MOST_TOOLS = 256
STRUCTURED_OUTPUTS = frozenset(
    {"json", "regex", "choice", "grammar", "json_object", "structural_tag", "disable_any_whitespace"}
    | {"disable_additional_properties", "whitespace_pattern"}
)


def tools(value: Any) -> str | None:
    """Of OpenAI's chat (`function.parameters`), its responses (`parameters`) and Anthropic (`input_schema`)."""
    if not isinstance(value, list):
        return "must be an array"
    if len(value) > MOST_TOOLS:
        return f"must be at most {MOST_TOOLS} tools"
    data = orjson.dumps(value)
    are_harmless = len(data) <= LARGEST_BYTES and not is_worth_a_look(data)
    for tool in value:
        if not isinstance(tool, dict):
            return "must be an array of objects"
        if "server_url" in tool:
            return "must not have a 'server_url': tools run at the client"
        if are_harmless:
            continue
        function = tool["function"] if isinstance(tool.get("function"), dict) else tool
        for word in ("parameters", "input_schema"):
            if problem := schema_problem(function.get(word)):
                return f"has a tool whose {word} {problem}"
    return None


def response_format(value: Any) -> str | None:
    """Of chat and completions, and the `format` of responses and Anthropic's messages."""
    if not isinstance(value, dict):
        return "must be an object"
    nested = value.get("json_schema")
    if problem := schema_problem(nested.get("schema") if isinstance(nested, dict) else value.get("schema")):
        return f"has a schema that {problem}"
    if value.get("type") == "structural_tag":
        return structural_tag(value)
    return None


def with_format(value: Any) -> str | None:
    """`text` of responses, `output_config` of Anthropic's messages."""
    if not isinstance(value, dict):
        return "must be an object"
    return response_format(value["format"]) if value.get("format") is not None else None


def structured_outputs(value: Any) -> str | None:
    """vLLM's own, more than a schema."""
    if not isinstance(value, dict):
        return "must be an object"
    if unknown := value.keys() - STRUCTURED_OUTPUTS:
        return f"must not have {min(unknown)[:64]!r}; it may have {', '.join(sorted(STRUCTURED_OUTPUTS))}"
    for word, check in (
        ("json", schema_or_text),
        ("regex", expression),
        ("whitespace_pattern", expression),
        ("choice", choices),
        ("grammar", grammar),
        ("structural_tag", structural_tag),
    ):
        if value.get(word) is not None and (problem := check(value[word])):
            return f"has a '{word}' that {problem}"
    return None


def schema_or_text(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return "is not JSON"
    return schema_problem(value)


def expression(value: Any) -> str | None:
    return regex_problem(value) if isinstance(value, str) else "is not a string"


def choices(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) > MOST_CHOICES or len(orjson.dumps(value)) > LARGEST_GRAMMAR_BYTES:
        return f"is not an array of at most {MOST_CHOICES} strings, {LARGEST_GRAMMAR_BYTES >> 10} KiB together"
    return None if all(isinstance(one, str) for one in value) else "is not an array of strings"


def grammar(value: Any) -> str | None:
    """The parts between brackets are counted as if none were quoted."""
    if not isinstance(value, str) or len(value) > LARGEST_GRAMMAR_BYTES:
        return f"is not a string of at most {LARGEST_GRAMMAR_BYTES >> 10} KiB"
    depth = 0
    for bracket in value:
        depth += (bracket == "(") - (bracket == ")")
        if depth > DEEPEST_GRAMMAR:
            return f"has groups more than {DEEPEST_GRAMMAR} deep"
    return None


def structural_tag(value: Any) -> str | None:
    """Schemas are somewhere within; what it holds is checked as if it were one."""
    return schema_or_text(value)
