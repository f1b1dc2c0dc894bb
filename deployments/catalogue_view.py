"""What a gateway tells clients about models, made from the state deployment's snapshot."""

from collections.abc import Mapping
from typing import Any

from deployments.gateway.catalogue import ModelCard, Scaling, Wake
from deployments.gateway.routing.score import Slo

STAGE_WORDS = {
    "download": "downloading the weights",
    "convert": "converting the weights",
    "verify": "checking the weights",
    "load": "loading the weights",
    "warm_up": "making its first token",
    "drain": "draining",
}


def model_cards(snapshot: Mapping[str, Any]) -> dict[str, ModelCard]:
    """A card for each model of the catalogue, with the reason if none of its replicas is ready."""
    return {
        model["name"]: ModelCard(
            name=model["name"],
            engine=model["engine"],
            max_model_len=model.get("max_model_len"),
            slo=Slo(**model["slo"]),
            not_ready=why_not_ready(model["name"], snapshot),
            wake=Wake(**model["wake"]) if model.get("wake") else None,
            scaling=scaling_of(model["name"], snapshot),
        )
        for model in snapshot["models"]
    }


def scaling_of(model: str, snapshot: Mapping[str, Any]) -> Scaling:
    """What state knows of replicas to come and to go; the defaults where it knows nothing yet."""
    told = snapshot.get("scaling", {}).get(model)
    if told is None:
        return Scaling()
    return Scaling(frozenset(told["reluctant"]), told["cold_start_s"], told["asked_at_s"])


def why_not_ready(model: str, snapshot: Mapping[str, Any]) -> str:
    """The furthest start-up stage of a replica, else the last failure's cause; causes only, no internal words.

    A model that may be at zero is so for no failure's sake until a replica has been asked for.
    """
    stages = [replica["stage"] for replica in snapshot["replicas"] if replica["model"] == model]
    if "ready" in stages:
        return "its replica is leaving."
    for stage, words in reversed(STAGE_WORDS.items()):
        if stage in stages:
            return f"a replica is starting ({words})."
    if is_asleep(model, snapshot):
        return "it is at zero replicas."
    causes = [failure["cause"] for failure in snapshot["failures"] if failure["model"] == model]
    if causes:
        return f"its last replica failed ({causes[0].replace('_', ' ')})."
    return "a replica is being placed."


def is_asleep(model: str, snapshot: Mapping[str, Any]) -> bool:
    """Whether the model may have no replica, and none has been asked for."""
    wakes = any(card["name"] == model and card.get("wake") for card in snapshot["models"])
    return wakes and scaling_of(model, snapshot).asked_at_s is None
