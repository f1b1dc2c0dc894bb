"""Looks for something in a long text part by part: an expression holds Python's lock until it is through with its text,
in whatever thread, and every other request waits for that.
"""

from collections.abc import Callable, Iterable, Iterator

from deployments.gateway.privacy.found import Found

WINDOW_CHARS = 16 * 1024
CONTEXT_CHARS = 1024


def in_windows(text: str, find: Callable[[str], Iterable[Found]]) -> Iterator[Found]:
    """What `find` finds, in order, without overlap. Nothing that it finds, and nothing beside it that it looks at, is
    longer than `CONTEXT_CHARS`.
    """
    end = 0
    for begin in range(0, len(text), WINDOW_CHARS):
        first = max(0, begin - CONTEXT_CHARS)
        for one in find(text[first : begin + WINDOW_CHARS + CONTEXT_CHARS]):
            found = Found(first + one.begin, first + one.end, one.kind)
            if max(begin, end) <= found.begin < begin + WINDOW_CHARS:
                end = found.end
                yield found
