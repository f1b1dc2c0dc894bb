"""What state's snapshot becomes for gateways."""

from typing import Any

import pytest

from deployments.catalogue_view import model_cards
from deployments.gateway.catalogue import ModelCard, Scaling, Wake

FAILURE = {"model": "m", "cause": "out_of_memory"}
ASKED = {"m": {"reluctant": ["r1"], "cold_start_s": 31.5, "asked_at_s": 1_700_000_000.0}}
NOT_ASKED = {"m": {"reluctant": [], "cold_start_s": 31.5, "asked_at_s": None}}
WAKE = {"max_wait_s": 60.0, "max_waiting": 100}


def card(
    *, stages: tuple[str, ...] = (), failures: tuple[dict[str, str], ...] = (), scaling: Any = None, **model: Any
) -> ModelCard:
    snapshot: dict[str, Any] = {
        "models": [{"name": "m", "engine": "vllm", "slo": {"ttft_ms": 500, "tpot_ms": 50}, **model}],
        "replicas": [{"model": "m", "stage": stage} for stage in stages],
        "failures": list(failures),
    }
    if scaling is not None:
        snapshot["scaling"] = scaling
    return model_cards(snapshot)["m"]


def test_a_model_that_may_sleep_says_how_long_and_how_many_may_wait() -> None:
    assert card(wake=WAKE).wake == Wake(max_wait_s=60, max_waiting=100)
    assert card(wake=None).wake is None
    assert card().wake is None


@pytest.mark.parametrize("scaling", [None, {}, {"other": ASKED["m"]}])
def test_of_a_model_that_state_knows_nothing_of_nothing_is_assumed_to_come_or_go(scaling: Any) -> None:
    assert card(scaling=scaling).scaling == Scaling()


def test_what_is_to_come_and_to_go_is_as_state_says() -> None:
    assert card(scaling=ASKED).scaling == Scaling(frozenset({"r1"}), 31.5, 1_700_000_000.0)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"scaling": NOT_ASKED, "wake": WAKE}, "it is at zero replicas."),
        ({"scaling": NOT_ASKED, "wake": WAKE, "failures": (FAILURE,)}, "it is at zero replicas."),
        ({"scaling": ASKED, "wake": WAKE}, "a replica is being placed."),
        ({"scaling": ASKED, "wake": WAKE, "failures": (FAILURE,)}, "its last replica failed (out of memory)."),
        ({"scaling": ASKED, "wake": WAKE, "stages": ("load",)}, "a replica is starting (loading the weights)."),
        ({"scaling": NOT_ASKED, "failures": (FAILURE,)}, "its last replica failed (out of memory)."),
        ({}, "a replica is being placed."),
    ],
)
def test_why_a_model_is_not_ready(known: dict[str, Any], words: str) -> None:
    assert card(**known).not_ready == words
