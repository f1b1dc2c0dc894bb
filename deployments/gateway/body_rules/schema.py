"""Is a client's JSON schema one that an engine can compile without much work?"""

from collections.abc import Iterator
from typing import Any

import orjson

from deployments.gateway.body_rules.regex import regex_problem

LARGEST_BYTES = 128 * 1024
SMALL_BYTES = 6 * 1024
MOST_CHOICES = 2048
MOST_PROPERTIES = 1024
MOST_REPEATS = 1_000_000
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains")
WORTH_A_LOOK = (b'"$ref"', b'"$dynamicRef"', b'"pattern', b'"enum"', b'"min', b'"max')
IN_PLACE = ("allOf", "anyOf", "oneOf")


def schema_problem(schema: Any) -> str | None:
    if not isinstance(schema, dict):
        return None
    data = orjson.dumps(schema)
    if len(data) > LARGEST_BYTES:
        return f"is a schema of more than {LARGEST_BYTES >> 10} KiB"
    if not is_worth_a_look(data):
        return None
    for node in nodes(schema):
        if problem := node_problem(node):
            return problem
    return "has a $ref that leads back to itself with nothing in between" if has_endless_ref(schema) else None


def is_worth_a_look(data: bytes) -> bool:
    """Whether JSON text has a word in it that a schema could cost an engine something by, or many properties."""
    return len(data) > SMALL_BYTES or any(word in data for word in WORTH_A_LOOK)


def nodes(document: Any) -> Iterator[dict[str, Any]]:
    """Every object in it. JSON is no deeper here than `shape.py` allows."""
    level = [document]
    while level:
        yield from (one for one in level if isinstance(one, dict))
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]


def node_problem(node: dict[str, Any]) -> str | None:
    for word in ("$ref", "$dynamicRef"):
        if isinstance(target := node.get(word), str) and not target.startswith("#"):
            return f"has a {word} out of the schema; put what it points to in $defs"
    choices = node.get("enum")
    if isinstance(choices, list) and len(choices) > MOST_CHOICES:
        return f"has an enum of more than {MOST_CHOICES} values"
    named = node.get("properties")
    if isinstance(named, dict) and len(named) > MOST_PROPERTIES:
        return f"has an object of more than {MOST_PROPERTIES} properties"
    for word in COUNTS:
        if isinstance(count := node.get(word), int | float) and count > MOST_REPEATS:
            return f"has a {word} of more than {MOST_REPEATS}"
    patterns = [node["pattern"]] if isinstance(node.get("pattern"), str) else []
    if isinstance(named := node.get("patternProperties"), dict):
        patterns += named
    return next((f"has a pattern that {problem}" for one in patterns if (problem := regex_problem(one))), None)


def has_endless_ref(schema: dict[str, Any]) -> bool:
    """Recursion through a property or an item is fine: something is generated between two rounds."""
    leads_to = {target: refs_in_place(resolved(schema, target)) for target in {*refs(schema)}}
    cleared: set[str] = set()
    for begin in leads_to:
        path, open_ends = {begin: None}, [iter(leads_to[begin])]
        while open_ends:
            target = next(open_ends[-1], None)
            if target is None:
                open_ends.pop()
                cleared.add(path.popitem()[0])
            elif target in path:
                return True
            elif target not in cleared:
                path[target] = None
                open_ends.append(iter(leads_to.get(target, ())))
    return False


def refs(schema: dict[str, Any]) -> Iterator[str]:
    return (node["$ref"] for node in nodes(schema) if isinstance(node.get("$ref"), str))


def refs_in_place(node: Any) -> list[str]:
    """The references that stand for this very value, not for a part of it."""
    found, left = [], [node]
    while left:
        one = left.pop()
        if not isinstance(one, dict):
            continue
        if isinstance(one.get("$ref"), str):
            found.append(one["$ref"])
        for word in IN_PLACE:
            if isinstance(inner := one.get(word), list):
                left += inner
    return found


def resolved(schema: dict[str, Any], pointer: str) -> Any:
    """What a JSON pointer leads to; None if nothing."""
    node: Any = schema
    for step in pointer.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and len(name) < 10 and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node
