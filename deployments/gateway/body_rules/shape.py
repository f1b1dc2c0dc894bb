"""How deep a document is."""

from typing import Any

DEEPEST = 32
LONG = 256
CONTAINERS = frozenset({dict, list})


def is_too_deep(document: Any) -> bool:
    level = [inner for one in containers_in(document) for inner in containers_in(one)]
    for _ in range(DEEPEST - 2):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def containers_in(one: Any) -> list[Any]:
    """A prompt as token ids is one long array of numbers, which is not looked at one by one."""
    if type(one) is dict:
        return [inner for inner in one.values() if type(inner) is dict or type(inner) is list]
    if len(one) > LONG and CONTAINERS.isdisjoint(map(type, one)):
        return []
    return [inner for inner in one if type(inner) is dict or type(inner) is list]
