"""How many replicas each model is to have, decided in one place, because models share the cluster's GPUs.

State runs it: gateways tell it of demand, replicas of their stages, and Serve's controller reads what it decided.
"""

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cluster.autoscaler.decision import Decision
from cluster.autoscaler.demand import Demand
from cluster.autoscaler.next_to_go import next_to_go
from cluster.autoscaler.sharing import Claim, share
from deployments.gateway_registry import ReplicaCounts
from deployments.scaled_model import ScaledModel, ScalingCard
from deployments.scaling_store import ScalingStore
from deployments.usage_log import Bin, UsageLog, UsageLogError

USAGE_BIN_S = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """The cluster: what its replicas may take in all, and the node that cannot be given up."""

    capacity: Mapping[str, float]
    head_node_id: str


class Scaling:
    """All models. `decided` has each model's last decision.

    What cannot be written down is decided and carried out all the same: a full disk stops no scaling.
    """

    def __init__(self, store: ScalingStore, usage: UsageLog, targets: Mapping[str, int]) -> None:
        """`targets`: replicas by application that Serve was last told in this cluster."""
        self._store, self._usage = store, usage
        self._told_targets = targets
        self._models: dict[str, ScaledModel] = {}
        self._wanted: dict[str, int] = {}
        self.decided: dict[str, Decision] = {}

    def newcomers(
        self, cards: Sequence[ScalingCard], now_s: float, past: Mapping[str, Sequence[Bin]]
    ) -> dict[str, ScaledModel]:
        """Of models that are not known yet, what the usage log has taught. Half a second for each that has a day of it:
        not for an event loop.
        """
        made = {}
        for card in cards:
            if card.model in self._models:
                continue
            target = self._told_targets.get(card.application, card.limits.least)
            new = ScaledModel(card, target, self._store.cold_starts(card.model), now_s)
            for told in past.get(card.model, ()):
                new.autoscaler.recall(told.at_s, told.end_s, told.requests / told.seconds)
            made[card.model] = new
        return made

    def replace_models(self, cards: Sequence[ScalingCard], now_s: float, new: Mapping[str, ScaledModel]) -> None:
        """Models that stay keep what was learned of them; new limits hold at once."""
        models = {}
        for card in cards:
            known = self._models[card.model] if card.model in self._models else new[card.model]
            known.change_card(card, now_s)
            models[card.model] = known
        self._models = models
        self._wanted = {model: known.target for model, known in models.items()}
        self.decided = {model: decision for model, decision in self.decided.items() if model in models}

    def targets(self) -> dict[str, int]:
        """Replicas by Serve application."""
        return {known.card.application: known.target for known in self._models.values()}

    def view(self) -> dict[str, dict[str, Any]]:
        """What gateways should know of each model: which replicas to spare, and how long a start takes."""
        return {
            model: {
                "reluctant": list(known.reluctant),
                "cold_start_s": round(known.cold_start.expected_s),
                "asked_at_s": known.asked_at_s if not known.running else None,
            }
            for model, known in self._models.items()
        }

    def counts(self) -> dict[str, ReplicaCounts]:
        return {
            model: ReplicaCounts(known.target, len(known.running), known.starting)
            for model, known in self._models.items()
        }

    def models(self) -> Mapping[str, ScaledModel]:
        return self._models

    def tell(self, gateway_id: str, demands: Mapping[str, Demand], now_s: float) -> bool:
        """Whether a model at zero is asked for."""
        for model, demand in demands.items():
            if model in self._models:
                self._models[model].tell(gateway_id, demand, now_s)
        return any(known.waits_at_zero() for known in self._models.values())

    def see_replicas(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All replicas, as they reported to state."""
        for model, known in self._models.items():
            for seconds in known.see_replicas([row for row in rows if row["model"] == model]):
                with _written_if_possible():
                    self._store.keep_cold_start(model, seconds)

    def wake(self, site: Site, now_s: float) -> None:
        """A replica for each model at zero that requests wait for; how many more is the next decision's affair."""
        waking = {model: known.woken(now_s) for model, known in self._models.items() if known.waits_at_zero()}
        self._carry_out(waking, site, now_s)

    def decide(self, site: Site, now_s: float) -> None:
        """Every few seconds, for all models that gateways told anything of."""
        decisions = {model: known.decide(now_s) for model, known in self._models.items()}
        made = {model: decision for model, decision in decisions.items() if decision is not None}
        self._carry_out(made, site, now_s)
        for model in made:
            self._log_usage(self._models[model])

    def _carry_out(self, decisions: Mapping[str, Decision], site: Site, now_s: float) -> None:
        self._wanted |= {model: decision.desired for model, decision in decisions.items()}
        granted = share([self._claim(known) for known in self._models.values()], site.capacity)
        everywhere = [replica for known in self._models.values() for replica in known.running.values()]
        for model, known in self._models.items():
            was, grant = known.target, granted[model]
            going = next_to_go(model, everywhere, site.head_node_id, max(0, was - grant.replicas))
            known.settle(grant.replicas, going, now_s)
            decision = decisions.get(model, self.decided.get(model))
            if decision is not None and (model in decisions or known.target != was):
                reason = "; ".join(filter(None, (decision.reason, grant.reason)))
                with _written_if_possible():
                    self._store.keep_decision(model, was, known.target, decision, reason)
        self.decided |= decisions

    def _log_usage(self, known: ScaledModel) -> None:
        told = known.take_usage(USAGE_BIN_S)
        if told is not None:
            with _written_if_possible():
                self._usage.append(told.at_s, told.seconds, known.card.model, told.requests, told.sampled)

    def _claim(self, known: ScaledModel) -> Claim:
        model, last = known.card.model, self.decided.get(known.card.model)
        return Claim(
            model=model,
            desired=self._wanted.get(model, known.target),
            least=known.card.limits.least,
            have=known.target,
            replica=known.card.needs,
            priority=known.card.priority,
            load=last.forecast_load / last.bearable_load if last and last.bearable_load else 0.0,
        )


@contextmanager
def _written_if_possible() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UsageLogError) as error:
        logger.error("not written down: %s", error)
