"""What the value of one field may be. A check says what is wrong with a value, or nothing.

JSON's types are meant strictly: vLLM's models take `"8"` and `true` for numbers, which a limit would otherwise not see.
"""

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], str | None]


def anything(value: Any) -> str | None:
    return None


def flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def whole(least: int, most: int) -> Check:
    problem = f"must be a whole number from {least} to {most}"

    def check(value: Any) -> str | None:
        return None if type(value) is int and least <= value <= most else problem

    return check


def number(least: float, most: float) -> Check:
    problem = f"must be a number from {least:g} to {most:g}"

    def check(value: Any) -> str | None:
        return None if type(value) in (int, float) and least <= value <= most else problem

    return check


def flag_or_whole(least: int, most: int) -> Check:
    """Chat completions take `logprobs` as a switch, completions as a count."""
    count = whole(least, most)

    def check(value: Any) -> str | None:
        return None if isinstance(value, bool) else count(value)

    return check


def text(longest: int) -> Check:
    problem = f"must be a string of at most {longest} characters"

    def check(value: Any) -> str | None:
        return None if isinstance(value, str) and len(value) <= longest else problem

    return check


def texts(most: int, longest: int) -> Check:
    """One string or several."""
    problem = f"must be at most {most} strings of at most {longest} characters each"

    def check(value: Any) -> str | None:
        if isinstance(value, str):
            value = (value,)
        elif not isinstance(value, list):
            return problem
        fits = len(value) <= most and all(isinstance(one, str) and len(one) <= longest for one in value)
        return None if fits else problem

    return check


def tokens(most: int) -> Check:
    problem = f"must be at most {most} token ids"

    def check(value: Any) -> str | None:
        fits = isinstance(value, list) and len(value) <= most and all(type(one) is int for one in value)
        return None if fits else problem

    return check


def items(most: int) -> Check:
    """An array; or, where the API has a shorter form, a string."""
    problem = f"must have at most {most} items"

    def check(value: Any) -> str | None:
        return problem if isinstance(value, list) and len(value) > most else None

    return check


def biases(most: int) -> Check:
    problem = f"must be an object of at most {most} token ids with biases from -100 to 100"

    def check(value: Any) -> str | None:
        if not isinstance(value, dict) or len(value) > most:
            return problem
        fits = all(type(bias) in (int, float) and -100 <= bias <= 100 for bias in value.values())
        return None if fits else problem

    return check


def scalars(most: int, longest: int, *forbidden: str) -> Check:
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

    return check
