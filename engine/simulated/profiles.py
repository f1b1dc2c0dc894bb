"""Named models on named hardware for the simulated engine: step-time coefficients and KV-cache room."""

import difflib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from engine.simulated.step_time import StepTime


class ProfileError(ValueError):
    """No profile has this name; the message has the nearest ones."""


@dataclass(frozen=True, slots=True)
class Profile:
    """`kv_capacity_tokens`: (0.9·memory·TP - weights - 4 GB·TP) / KV bytes per token."""

    name: str
    step_time: StepTime
    kv_capacity_tokens: int


@cache
def profiles() -> dict[str, Profile]:
    table = json.loads(files("engine.simulated").joinpath("profiles.json").read_text())
    return {
        name: Profile(
            name, StepTime(**{k: v for k, v in row.items() if k != "kv_capacity_tokens"}), row["kv_capacity_tokens"]
        )
        for name, row in table.items()
    }


def get_profile(name: str) -> Profile:
    """Raises:
    ProfileError: there is none of that name.
    """
    if name not in profiles():
        near = difflib.get_close_matches(name, profiles(), n=3, cutoff=0.3) or list(profiles())
        raise ProfileError(f"there is no profile {name!r}; nearest: {', '.join(near)}")
    return profiles()[name]
