"""What a caller gives a recipe, checked field by field against the types of its file; and the same as a JSON schema."""

import difflib
from collections.abc import Sequence
from typing import Any

from deployments.gateway.errors import GatewayError, bad_request
from deployments.gateway.recipes.json_schema import schema_problem
from deployments.gateway.recipes.recipe import InputField

MOST_LABELS = 64
FEWEST_LABELS = 2
LONGEST_LABEL = 100
LONGEST_NAME_SHOWN = 64


def checked(given: Any, fields: Sequence[InputField]) -> dict[str, Any]:
    """A value for each of `fields`; None, or an empty list, for what was left out without a default. Labels are sorted:
    a prompt that has them shall not depend on their order.

    Raises:
        GatewayError: 400, which field is wrong or missing, or which is not one, with the nearest name.
    """
    if not isinstance(given, dict):
        names = ", ".join(field.name for field in fields)
        raise bad_request(f"'inputs' must be an object with the recipe's inputs: {names}.", "inputs", "invalid_type")
    known = {field.name: field for field in fields}
    for name in given:
        if name not in known:
            raise unknown_input(name, list(known))
    return {name: value_of(field, given.get(name)) for name, field in known.items()}


def unknown_input(name: str, known: Sequence[str]) -> GatewayError:
    shown = name[:LONGEST_NAME_SHOWN]
    near = difflib.get_close_matches(shown, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"It has {', '.join(known)}."
    return bad_request(f"This recipe has no input '{shown}'. {hint}", f"inputs.{shown}", "unknown_parameter")


def value_of(field: InputField, value: Any) -> Any:
    """Raises:
    GatewayError: 400.
    """
    where = f"inputs.{field.name}"
    if value is None:
        if not field.may_be_left_out:
            about = f": {field.about}" if field.about else ""
            raise bad_request(f"The input '{field.name}' is missing{about}.", where, "missing_required_parameter")
        return [] if field.default is None and field.is_list else field.default
    problem = value_problem(field, value)
    if problem:
        raise bad_request(f"The input '{field.name}' {problem}.", where)
    return sorted(label.strip() for label in value) if field.type == "labels" else value


def value_problem(field: InputField, value: Any) -> str | None:
    """What is wrong with a value for this input; the default of a recipe's file is one, too."""
    match field.type:
        case "text":
            return text_problem(field, value)
        case "texts":
            return texts_problem(field, value)
        case "labels":
            return labels_problem(value)
        case "choice":
            return None if value in field.options else f"must be one of {', '.join(field.options)}"
        case "number":
            fits = type(value) in (int, float) and field.minimum <= value <= field.maximum
            return None if fits else f"must be a number from {field.minimum:g} to {field.maximum:g}"
        case "flag":
            return None if isinstance(value, bool) else "must be true or false"
        case "schema":
            return schema_problem(value)


def text_problem(field: InputField, value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > field.max_chars:
        return f"has {len(value)} characters; it may have {field.max_chars}"
    return None if value.strip() or field.may_be_left_out else "is empty"


def texts_problem(field: InputField, value: Any) -> str | None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return "must be an array of strings"
    if not value or len(value) > field.max_items:
        return f"must have from 1 to {field.max_items} strings, and has {len(value)}"
    chars = sum(map(len, value))
    return None if chars <= field.max_chars else f"has {chars} characters together; it may have {field.max_chars}"


def labels_problem(value: Any) -> str | None:
    """A label that stands twice would share its probability with itself, an empty one has none."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return "must be an array of strings"
    if not FEWEST_LABELS <= len(value) <= MOST_LABELS:
        return f"must have from {FEWEST_LABELS} to {MOST_LABELS} labels, and has {len(value)}"
    labels = [label.strip() for label in value]
    if not all(labels):
        return "has an empty label"
    if any(len(label) > LONGEST_LABEL or not label.isprintable() for label in labels):
        return f"has a label of more than {LONGEST_LABEL} characters, or with characters that cannot be printed"
    twice = next((label for at, label in enumerate(labels) if label in labels[:at]), None)
    return None if twice is None else f"has the label '{twice}' twice"


def inputs_schema(fields: Sequence[InputField]) -> dict[str, Any]:
    """As JSON schema says it, for callers and the OpenAPI document."""
    return {
        "type": "object",
        "properties": {field.name: field_schema(field) for field in fields},
        "required": [field.name for field in fields if not field.may_be_left_out],
        "additionalProperties": False,
    }


def field_schema(field: InputField) -> dict[str, Any]:
    string = {"type": "string", "maxLength": field.max_chars}
    label = {"type": "string", "minLength": 1, "maxLength": LONGEST_LABEL}
    kinds: dict[str, dict[str, Any]] = {
        "text": string,
        "texts": {"type": "array", "items": string, "minItems": 1, "maxItems": field.max_items},
        "labels": {
            "type": "array",
            "items": label,
            "minItems": FEWEST_LABELS,
            "maxItems": MOST_LABELS,
            "uniqueItems": True,
        },
        "choice": {"enum": field.options},
        "number": {"type": "number", "minimum": field.minimum, "maximum": field.maximum},
        "flag": {"type": "boolean"},
        "schema": {"type": "object"},
    }
    about = {"description": field.about} if field.about else {}
    default = {"default": field.default} if field.default is not None else {}
    return {**kinds[field.type], **about, **default}
