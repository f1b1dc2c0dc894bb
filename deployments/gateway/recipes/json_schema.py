"""JSON schemas that recipes take: those whose check takes no longer than schema times document, and that check itself.

References can double at each step, and expressions can be slow to match; a recipe's answer is checked in the gateway,
where others wait. Whoever needs them sends the schema to `/v1/chat/completions`, where the engine alone has it.
"""

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from deployments.gateway.body_rules.schema import schema_problem as problem_for_an_engine
from deployments.gateway.body_rules.shape import DEEPEST, is_too_deep

TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems"})
BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
WORDS = frozenset({"title", "description", "default", "examples", "format", "const", "enum", "required", "$schema"})
BELOW = frozenset({"type", "properties", "items", "anyOf", "additionalProperties"})
KEYWORDS = COUNTS | BOUNDS | WORDS | BELOW
MOST_PARTS = 500


def schema_problem(schema: Any) -> str | None:
    """What makes it none that a recipe takes, in words that go after its name."""
    if not isinstance(schema, dict):
        return "must be a JSON schema, which is an object"
    if is_too_deep({"": schema}):
        return f"is a schema that is nested more than {DEEPEST} deep"
    try:
        if problem := problem_for_an_engine(schema):
            return problem
    except TypeError:
        return "is a schema with something that JSON has no word for, such as a date or a number as a key"
    for count, part in enumerate(parts(schema)):
        if count == MOST_PARTS:
            return f"is a schema of more than {MOST_PARTS} parts"
        if problem := part_problem(part):
            return problem
    return None


def parts(schema: Any) -> Iterator[Any]:
    """The schema and every schema within it."""
    left = [schema]
    while left:
        part = left.pop()
        yield part
        if isinstance(part, dict):
            properties, options = part.get("properties"), part.get("anyOf")
            left += properties.values() if isinstance(properties, dict) else ()
            left += options if isinstance(options, list) else ()
            left += [part[word] for word in ("items", "additionalProperties") if word in part]


def part_problem(part: Any) -> str | None:
    if isinstance(part, bool):
        return None
    if not isinstance(part, dict):
        return "is a schema with a part that is neither an object nor true or false"
    if unknown := part.keys() - KEYWORDS:
        taken = ", ".join(sorted(KEYWORDS))
        return f"is a schema with {min(unknown)[:64]!r}, which recipes do not take; they take {taken}"
    kinds = part.get("type", [])
    if not all(isinstance(kind, str) and kind in TYPES for kind in (kinds if isinstance(kinds, list) else [kinds])):
        return f"is a schema whose 'type' is not of {', '.join(sorted(TYPES))}"
    checks = {
        "properties": isinstance(part.get("properties", {}), dict),
        "anyOf": isinstance(part.get("anyOf", [0]), list) and bool(part.get("anyOf", [0])),
        "enum": isinstance(part.get("enum", [0]), list) and bool(part.get("enum", [0])),
        "required": is_list_of_strings(part.get("required", [])),
        **{word: type(part.get(word, 0)) is int and part.get(word, 0) >= 0 for word in COUNTS},
        **{word: type(part.get(word, 0)) in (int, float) for word in BOUNDS},
    }
    wrong = next((word for word, fits in checks.items() if not fits), None)
    return None if wrong is None else f"is a schema whose '{wrong}' is not what JSON schema says it is"


def is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def mismatch(schema: dict[str, Any], document: Any) -> str | None:
    """Where a document does not satisfy a schema, and how; None if it does."""
    error = next(Draft202012Validator(schema).iter_errors(document), None)
    if error is None:
        return None
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path).lstrip(".")
    return f"{where or 'the document'}: {error.message[:200]}"
