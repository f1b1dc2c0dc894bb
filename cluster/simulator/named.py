"""Policies by the names that `--policy` takes."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

Factory = TypeVar("Factory")


class PolicyError(ValueError):
    """There is no policy of this name; the message has the nearest ones."""


def policies_named(names: str, among: Mapping[str, Factory]) -> dict[str, Factory]:
    """The policies of a comma-separated list; `all` is every one.

    Raises:
        PolicyError: one of them does not exist.
    """
    if names == "all":
        return dict(among)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in among:
            near = difflib.get_close_matches(name, among, n=3, cutoff=0.3)
            hint = f"nearest: {', '.join(near)}; " if near else ""
            raise PolicyError(f"there is no policy {name!r}; {hint}valid: all, {', '.join(among)}")
    if not wanted:
        raise PolicyError(f"no policy is named; valid: all, {', '.join(among)}")
    return {name: among[name] for name in wanted}
