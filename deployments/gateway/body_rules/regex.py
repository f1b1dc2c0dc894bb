"""Is a client's regular expression one that an engine can compile and match without much work? A static, careful guess.

Engines compile it to an automaton, on a thread that other requests wait for. What is refused: a loop around a loop with
nothing certain between two rounds, as in `(a+)+`; more repetitions than an automaton can be unrolled for; and what an
automaton cannot do at all (look-around, back-references). Linear in the length of the pattern.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

LONGEST = 2048
DEEPEST = 16
MOST_REPEATS = 1000
LARGEST_UNROLLED = 10_000
MOST_REMEMBERED = 256

ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[pP]\{\w{1,64}\}|[^\n])")
CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
GROUP = re.compile(r"\((?:\?(?::|P?<[A-Za-z_]\w*>)|(?!\?))")
QUANTIFIER = re.compile(r"(?:([*+?])|\{(\d{1,9})?(,)?(\d{1,9})?\})[?+]?")
ZERO_WIDTH = frozenset({"^", "$", r"\b", r"\B", r"\A", r"\Z", r"\z"})
COUNTS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass(slots=True)
class Alternative:
    """A sequence of atoms. `loops` repeat without end, `certain` come exactly once; `unrolled`: atoms when unrolled."""

    loops: set[str] = field(default_factory=set)
    certain: set[str] = field(default_factory=set)
    unrolled: int = 0

    def is_ambiguous_in_a_loop(self) -> bool:
        return bool(self.loops) and not self.certain - self.loops


@dataclass(slots=True)
class Group:
    begins: int
    alternatives: list[Alternative] = field(default_factory=lambda: [Alternative()])


def regex_problem(pattern: str) -> str | None:
    if len(pattern) > LONGEST:
        return f"is a regular expression of more than {LONGEST} characters"
    return problem_of_short(pattern)


@lru_cache(maxsize=MOST_REMEMBERED)
def problem_of_short(pattern: str) -> str | None:
    open_groups, at = [Group(0)], 0
    while at < len(pattern):
        group: Group | None = None
        begins = at
        match pattern[at]:
            case "(":
                opening = GROUP.match(pattern, at)
                if opening is None:
                    return "has a look-around or a flag, which no automaton can do"
                if len(open_groups) > DEEPEST:
                    return f"has groups more than {DEEPEST} deep"
                open_groups.append(Group(at))
                at = opening.end()
                continue
            case ")":
                if len(open_groups) == 1:
                    return "is not a regular expression: ')' without '('"
                group, at = open_groups.pop(), at + 1
                begins = group.begins
            case "|":
                open_groups[-1].alternatives.append(Alternative())
                at += 1
                continue
            case "\\":
                if pattern[at + 1 : at + 2] in tuple("123456789k"):
                    return "has a back-reference, which no automaton can do"
                at = end_of(ESCAPE, pattern, at)
            case "[":
                at = end_of(CLASS, pattern, at)
            case _:
                at += 1
        if at < 0:
            return "is not a regular expression: it ends in the middle of a class or an escape"
        atom = pattern[begins:at]
        least, most, after = quantifier(pattern, at)
        if after > at and quantifier(pattern, after)[2] > after:
            return "repeats a repetition; put it into a group"
        at = after
        if problem := add(open_groups[-1].alternatives[-1], atom, group, least, most):
            return problem
    return "is not a regular expression: '(' without ')'" if len(open_groups) > 1 else None


def end_of(what: re.Pattern[str], pattern: str, at: int) -> int:
    found = what.match(pattern, at)
    return found.end() if found else -1


def quantifier(pattern: str, at: int) -> tuple[int, int | None, int]:
    """How often the atom before `at` comes, at least and at most, and where the pattern goes on."""
    found = QUANTIFIER.match(pattern, at)
    if found is None:
        return 1, 1, at
    symbol, least, comma, most = found.groups()
    if symbol:
        return *COUNTS[symbol], found.end()
    if least is None and most is None:
        return 1, 1, at
    if comma is None:
        return int(least), int(least), found.end()
    return int(least or 0), int(most) if most else None, found.end()


def add(to: Alternative, atom: str, group: Group | None, least: int, most: int | None) -> str | None:
    """Raise nothing, return what is wrong with one more atom."""
    repeats = max(least, most or 1)
    if repeats > MOST_REPEATS:
        return f"repeats something more than {MOST_REPEATS} times"
    if group is not None:
        if most is None and any(one.is_ambiguous_in_a_loop() for one in group.alternatives):
            return "has a loop around a loop with nothing certain in between, like '(a+)+'"
        for one in group.alternatives:
            to.loops |= one.loops
        if least == most == 1 and all(one.certain for one in group.alternatives):
            to.certain |= set[str]().union(*(one.certain for one in group.alternatives))
    elif least >= 1 and most is not None and atom not in ZERO_WIDTH:
        to.certain.add(atom)
    if most is None:
        to.loops.add(atom)
    to.unrolled += repeats * (sum(one.unrolled for one in group.alternatives) if group else 1)
    if to.unrolled > LARGEST_UNROLLED:
        return f"has more than {LARGEST_UNROLLED} parts when its repetitions are written out"
    return None
