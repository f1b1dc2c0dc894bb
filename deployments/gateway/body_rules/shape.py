"""How deep a document is, and how many parts it may have."""

from typing import Any

DEEPEST = 32
LONG = 256
MOST_BRACKETS = 200_000
CONTAINERS = frozenset({dict, list})


def has_too_many_parts(body: bytes) -> bool:
    """Told before it is read: millions of arrays take seconds to be made, and all others wait. In a text brackets
    count, too.
    """
    return body.count(b"[") + body.count(b"{") > MOST_BRACKETS


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
