"""How deep a document is."""

from typing import Any

DEEPEST = 32


def is_too_deep(document: Any, brackets: int) -> bool:
    """`brackets`: opening ones in the text. With few of them there is nothing to walk through."""
    if brackets <= DEEPEST:
        return False
    level = [document]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True
