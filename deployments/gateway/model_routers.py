"""A router for each model, kept in step with the models and replicas there are."""

import secrets
import time
from collections.abc import Collection, Sequence
from random import Random

from deployments.gateway.catalogue import DEFAULT_SLO, ModelCard
from deployments.gateway.prompt_blocks import PromptBlocks, block_ends
from deployments.gateway.replica_table import ReplicaInfo
from deployments.gateway.routing.demand_meter import DemandMeter
from deployments.gateway.routing.fit import LinearFit
from deployments.gateway.routing.router import Prompt, Router
from deployments.gateway.routing.score import Slo

INDEX_BYTES = 48 * 2**20
TEMPLATE_TOKENS_PRIOR = 8.0
TOKENS_PER_BYTE_PRIOR = 0.25


def now_ms() -> float:
    return time.monotonic() * 1000


class ModelRouter:
    """One model's router, the meter of its demand, and how its tokens go by bytes of prompt text: learned, like all
    else.
    """

    def __init__(self, random: Random, slo: Slo) -> None:
        self.router = Router(random, slo)
        self.meter = DemandMeter(self.router, random)
        self._tokens = LinearFit((TEMPLATE_TOKENS_PRIOR, TOKENS_PER_BYTE_PRIOR))
        self._known: dict[str, ReplicaInfo] = {}
        self._kept: Sequence[ReplicaInfo] = ()

    def prompt(self, blocks: PromptBlocks) -> Prompt:
        """In tokens, as far as known."""
        template, per_byte = self._tokens.coefficients
        ends = [template + per_byte * end for end in blocks.ends]
        return Prompt(max(1.0, template + per_byte * blocks.size_bytes), blocks.hashes, ends)

    def prompt_of_other(self, hashes: Sequence[int], prompt_tokens: float) -> Prompt:
        """Of another gateway's request, of which only hashes and tokens are told."""
        template, per_byte = self._tokens.coefficients
        ends = block_ends(2**62)
        known = [min(prompt_tokens, template + per_byte * end) for _, end in zip(hashes, ends, strict=False)]
        return Prompt(max(1.0, prompt_tokens), list(hashes[: len(known)]), known)

    def saw_prompt(self, size_bytes: int, tokens: int) -> None:
        self._tokens.add((1.0, float(size_bytes)), float(tokens))

    def keep(self, replicas: Sequence[ReplicaInfo]) -> None:
        """What is known of replicas that are still there stays as it is."""
        if replicas is self._kept:
            return
        self._kept = replicas
        present = {replica.replica_id: replica for replica in replicas}
        for gone in self._known.keys() - present.keys():
            self.router.forget(gone)
        for replica in present.values():
            if replica.replica_id not in self._known and replica.kv_cache_tokens:
                self.router.set_cache_tokens(replica.replica_id, replica.kv_cache_tokens)
        self._known = present


class ModelRouters:
    """The gateway's routers, whose prefix indexes share `INDEX_BYTES`, told of other gateways by the engines' feeds.

    `gateway_id` names this gateway to the others.
    """

    def __init__(self, random: Random | None = None) -> None:
        self.gateway_id = secrets.token_hex(8)
        self._random = random or Random()  # noqa: S311
        self._routers: dict[str, ModelRouter] = {}

    def of(self, card: ModelCard) -> ModelRouter:
        found = self.named(card.name)
        found.router.slo = card.slo
        return found

    def named(self, model: str) -> ModelRouter:
        found = self._routers.get(model)
        if found is None:
            found = self._routers[model] = ModelRouter(self._random, DEFAULT_SLO)
            self._share_bytes()
        return found

    def keep_models(self, names: Collection[str]) -> None:
        """What is known of models that are gone is forgotten."""
        for gone in self._routers.keys() - set(names):
            del self._routers[gone]
        self._share_bytes()

    def items(self) -> Sequence[tuple[str, ModelRouter]]:
        return tuple(self._routers.items())

    def total_requests(self) -> int:
        return sum(found.router.ledger.total_requests() for found in self._routers.values())

    def other_reset(self, model: str, replica_id: str) -> None:
        self.named(model).router.other_reset(replica_id, now_ms())

    def other_began(
        self, model: str, replica_id: str, key: str, prompt_tokens: int, hit_tokens: int, blocks: tuple[int, ...]
    ) -> None:
        known = self.named(model)
        prompt = known.prompt_of_other(blocks, prompt_tokens)
        known.router.other_began(replica_id, key, prompt, hit_tokens, now_ms())

    def other_got_first_token(self, model: str, replica_id: str, key: str) -> None:
        self.named(model).router.other_got_first_token(replica_id, key, now_ms())

    def other_ended(self, model: str, replica_id: str, key: str) -> None:
        self.named(model).router.other_ended(replica_id, key, now_ms())

    def heard(self, model: str, replica_id: str) -> None:
        self.named(model).router.heard(replica_id, now_ms())

    def _share_bytes(self) -> None:
        for known in self._routers.values():
            known.router.index.set_max_bytes(INDEX_BYTES // len(self._routers))
