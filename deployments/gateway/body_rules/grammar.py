"""What constrains an answer: schemas, tools, expressions, grammars."""

from typing import Any

import orjson

from deployments.gateway.body_rules.regex import regex_problem
from deployments.gateway.body_rules.schema import LARGEST_BYTES, is_worth_a_look, nodes, schema_problem
from deployments.gateway.body_rules.shape import DEEPEST, has_too_many_parts, is_too_deep

LARGEST_GRAMMAR_BYTES = 64 * 1024
DEEPEST_GRAMMAR = 16
MOST_CHOICES = 2048
MOST_TOOLS = 256
PARAMETERS = ("parameters", "input_schema")
NO_JSON = object()
STRUCTURED_OUTPUTS = frozenset(
    {"json", "regex", "choice", "grammar", "json_object", "structural_tag", "disable_any_whitespace"}
    | {"disable_additional_properties", "whitespace_pattern"}
)


def tools(value: Any) -> str | None:
    """Of OpenAI's chat (`function.parameters`), its responses (`parameters`) and Anthropic (`input_schema`).

    A schema is looked at in each place where one of them would read it, whatever else the tool has.
    """
    if not isinstance(value, list):
        return "must be an array"
    data = orjson.dumps(value)
    are_harmless = len(data) <= LARGEST_BYTES and not is_worth_a_look(data)
    left, count = [value], 0
    while left:
        for tool in left.pop():
            if not isinstance(tool, dict):
                return "must be an array of objects"
            count += 1
            if count > MOST_TOOLS:
                return f"must be at most {MOST_TOOLS} tools"
            if "server_url" in tool:
                return "must not have a 'server_url': tools run at the client"
            if isinstance(tool.get("tools"), list):
                left.append(tool["tools"])
            if not are_harmless and (problem := tool_problem(tool)):
                return problem
    return None


def tool_problem(tool: dict[str, Any]) -> str | None:
    for holder in (tool, tool.get("function")):
        for word in PARAMETERS:
            if isinstance(holder, dict) and (problem := schema_problem(holder.get(word))):
                return f"has a tool whose {word} {problem}"
    return None


def response_format(value: Any) -> str | None:
    """Of chat and completions, and the `format` of responses and Anthropic's messages."""
    if not isinstance(value, dict):
        return "must be an object"
    for holder in (value, value.get("json_schema")):
        if isinstance(holder, dict) and (problem := schema_problem(holder.get("schema"))):
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
    """JSON in a string has not been looked at with the body that it came in."""
    document = json_or_text(value)
    if document is NO_JSON:
        return "is not JSON"
    return too_deep(document) or schema_problem(document)


def json_or_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return NO_JSON if has_too_many_parts(value.encode()) else orjson.loads(value)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return NO_JSON


def too_deep(document: Any) -> str | None:
    return f"is nested more than {DEEPEST} deep" if is_too_deep({"": document}) else None


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
    """Schemas, expressions and grammars are somewhere within; what it holds is checked as if it were one schema."""
    tag = json_or_text(value)
    if tag is NO_JSON:
        return "is not JSON"
    if problem := too_deep(tag) or schema_problem(tag):
        return problem
    for node in nodes(tag) if isinstance(tag, dict) else ():
        if isinstance(node.get("grammar"), str) and (problem := grammar(node["grammar"])):
            return f"has a grammar that {problem}"
    return None
