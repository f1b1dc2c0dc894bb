"""What the two tenants ask for. Arrivals are Poisson, lengths lognormal."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from cluster.simulator.scaling.protocol import Lengths
from cluster.simulator.trace_request import TraceRequest
from engine.simulated.step_time import StepTime

LIGHT, HEAVY = "light", "heavy"
TYPICAL_BATCH = 100


@dataclass(frozen=True, slots=True)
class Shape:
    """Tokens of a tenant's requests."""

    prompt: Lengths
    output: Lengths

    @property
    def mean_tokens(self) -> float:
        return self.prompt.mean + self.output.mean

    def work_ms(self, step: StepTime) -> float:
        """What a request takes of a replica that works on a hundred at a time."""
        prompt, output = self.prompt.mean, self.output.mean
        pairs = prompt**2 * (1 + self.prompt.cv**2) / 2e6
        decode_ms = (step.c0_ms + step.host_ms) / TYPICAL_BATCH + step.c_low_ms
        return (
            prompt * step.c_tok_ms
            + pairs * step.c_attn_ms
            + output * (decode_ms + step.c_kv_ms * (prompt + output / 2) / 1000)
        )


OUTPUT = Lengths(mean=200, cv=1.0)
CHAT = Shape(Lengths(mean=1_000, cv=1.0), OUTPUT)
SHAPES = {
    "chat": CHAT,
    "documents": Shape(Lengths(mean=4_000, cv=0.5), OUTPUT),
    "100k": Shape(Lengths(mean=100_000, cv=0.1), OUTPUT),
}


@dataclass(frozen=True, slots=True)
class Workload:
    """The heavy tenant alone asks for `load` times what the replicas can do; the light one chats, for a `ratio`-th of
    its tokens.
    """

    heavy: Shape
    load: float
    ratio: float
    seconds: float

    def requests(self, step: StepTime, replicas: int, seed: int, *, alone: bool) -> Iterator[TraceRequest]:
        """In order of arrival. `alone`: the light tenant's, the same ones."""
        heavy_req_s = self.load * replicas * 1000 / self.heavy.work_ms(step)
        light_req_s = heavy_req_s * self.heavy.mean_tokens / CHAT.mean_tokens / self.ratio
        light = self._of(LIGHT, CHAT, light_req_s, seed)
        if alone:
            return light
        heavy = self._of(HEAVY, self.heavy, heavy_req_s, seed)
        return heapq.merge(light, heavy, key=lambda request: request.arrived_ms)

    def _of(self, tenant: str, shape: Shape, rate_req_s: float, seed: int) -> Iterator[TraceRequest]:
        source = Random(f"{tenant} {seed}")  # noqa: S311
        at_s = source.expovariate(rate_req_s)
        while at_s < self.seconds:
            yield TraceRequest(at_s * 1000, shape.prompt.draw(source), shape.output.draw(source), (), tenant)
            at_s += source.expovariate(rate_req_s)
