"""What the value of a field may be: a check, which says what is wrong with it or nothing, and the same as a schema.

JSON's types are meant strictly: vLLM's models take `"8"` and `true` for numbers, which a limit would otherwise not see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Check = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class Value:
    """`schema`: as far as JSON schema can say it; null is always allowed and not in it."""

    problem: Check
    schema: dict[str, Any]


LARGEST_TOKEN_ID = 2**31 - 1
ANYTHING = Value(lambda value: None, {})
FLAG = Value(lambda value: None if isinstance(value, bool) else "must be true or false", {"type": "boolean"})


def whole(least: int, most: int) -> Value:
    problem = f"must be a whole number from {least} to {most}"

    def check(value: Any) -> str | None:
        return None if type(value) is int and least <= value <= most else problem

    return Value(check, {"type": "integer", "minimum": least, "maximum": most})


def number(least: float, most: float) -> Value:
    problem = f"must be a number from {least:g} to {most:g}"

    def check(value: Any) -> str | None:
        return None if type(value) in (int, float) and least <= value <= most else problem

    return Value(check, {"type": "number", "minimum": least, "maximum": most})


def flag_or_whole(least: int, most: int) -> Value:
    """Chat completions take `logprobs` as a switch, completions as a count."""
    count = whole(least, most)

    def check(value: Any) -> str | None:
        return None if isinstance(value, bool) else count.problem(value)

    return Value(check, {"anyOf": [FLAG.schema, count.schema]})


def text(longest: int) -> Value:
    problem = f"must be a string of at most {longest} characters"

    def check(value: Any) -> str | None:
        return None if isinstance(value, str) and len(value) <= longest else problem

    return Value(check, {"type": "string", "maxLength": longest})


def texts(most: int, longest: int) -> Value:
    """One string or several."""
    problem = f"must be at most {most} strings of at most {longest} characters each"

    def check(value: Any) -> str | None:
        if isinstance(value, str):
            value = (value,)
        elif not isinstance(value, list):
            return problem
        fits = len(value) <= most and all(isinstance(one, str) and len(one) <= longest for one in value)
        return None if fits else problem

    one = text(longest).schema
    return Value(check, {"anyOf": [one, {"type": "array", "items": one, "maxItems": most}]})


def tokens(most: int) -> Value:
    """No vocabulary is as large as `LARGEST_TOKEN_ID`; what is beyond breaks tokenizers instead of being refused."""
    problem = f"must be at most {most} token ids, of 0 to {LARGEST_TOKEN_ID}"

    def check(value: Any) -> str | None:
        fits = isinstance(value, list) and len(value) <= most and all(map(is_token_id, value))
        return None if fits else problem

    ids = {"type": "integer", "minimum": 0, "maximum": LARGEST_TOKEN_ID}
    return Value(check, {"type": "array", "items": ids, "maxItems": most})


def is_token_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_TOKEN_ID


def items(most: int, *others: str) -> Value:
    """An array, or one of the shorter forms that the API has, whose JSON types are `others`."""
    problem = f"must be an array of at most {most} items" + (" or a string" if others else "")

    def check(value: Any) -> str | None:
        if isinstance(value, list):
            return None if len(value) <= most else problem
        return None if others and isinstance(value, str) else problem

    array = {"type": "array", "maxItems": most}
    return Value(check, {"anyOf": [array, *({"type": other} for other in others)]} if others else array)


def biases(most: int) -> Value:
    problem = f"must be an object of at most {most} token ids with biases from -100 to 100"

    def check(value: Any) -> str | None:
        if not isinstance(value, dict) or len(value) > most:
            return problem
        fits = all(type(bias) in (int, float) and -100 <= bias <= 100 for bias in value.values())
        return None if fits else problem

    return Value(check, {"type": "object", "additionalProperties": number(-100, 100).schema, "maxProperties": most})


def scalars(most: int, longest: int, *forbidden: str) -> Value:
    """An object of plain values. Used for what goes into a chat template."""
    problem = (
        f"must be an object of at most {most} plain values (no arrays, no objects) of at most {longest} characters"
    )
    names = frozenset(forbidden)

    def check(value: Any) -> str | None:
        if not isinstance(value, dict) or len(value) > most:
            return problem
        if taken := names & value.keys():
            return f"must not have '{min(taken)}': only variables of the model's own template can be set"
        fits = all(
            one is None or type(one) in (bool, int, float) or (isinstance(one, str) and len(one) <= longest)
            for one in value.values()
        )
        return None if fits else problem

    plain = {"type": ["boolean", "number", "string", "null"], "maxLength": longest}
    return Value(check, {"type": "object", "additionalProperties": plain, "maxProperties": most})
