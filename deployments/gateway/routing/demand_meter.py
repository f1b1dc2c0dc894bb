"""What a gateway tells the autoscaler of one model: sums since it told last, and what an average request takes.

No clock and no I/O: the simulator runs this very code.
"""

from random import Random

from cluster.autoscaler.capacity import Shape, Speed
from cluster.autoscaler.demand import Demand
from deployments.gateway.routing.router import ANY_REPLICA, Router

REMEMBERED_REQUESTS = 200.0
SAMPLED_REQUESTS = 16


class DemandMeter:
    """Told of every request as it arrives and as it ends, whatever became of it."""

    def __init__(self, router: Router, random: Random) -> None:
        self._router = router
        self._random = random
        self._prefill_ms = self._prefill_ms_squared = self._context_tokens = 0.0
        self._remembered = 0.0
        self._arrived = self._finished = self._met = self._answered = 0
        self._sampled: list[tuple[int, int, int]] = []
        self._taken_ms = 0.0

    def arrived(self, prompt_tokens: float, now_ms: float) -> None:
        estimator, yardstick = self._router.estimator, self._router.yardstick
        speed = yardstick.measured(estimator.of(ANY_REPLICA, now_ms))
        prefill_ms = speed.prefill_ms(prompt_tokens, yardstick.hit_rate * prompt_tokens)
        self._arrived += 1
        self._remembered = min(REMEMBERED_REQUESTS, self._remembered + 1)
        part = 1 / self._remembered
        self._prefill_ms += part * (prefill_ms - self._prefill_ms)
        self._prefill_ms_squared += part * (prefill_ms**2 - self._prefill_ms_squared)
        self._context_tokens += part * (prompt_tokens + estimator.output_tokens / 2 - self._context_tokens)

    def finished(self, *, met: bool) -> None:
        self._finished += 1
        self._met += met

    def answered(self, prompt_tokens: int, cached_tokens: int, output_tokens: int) -> None:
        """The lengths of a request, for the usage log; of many, each is as likely to be kept (Vitter 1985)."""
        self._answered += 1
        if len(self._sampled) < SAMPLED_REQUESTS:
            self._sampled.append((prompt_tokens, cached_tokens, output_tokens))
        elif (slot := self._random.randrange(self._answered)) < SAMPLED_REQUESTS:
            self._sampled[slot] = (prompt_tokens, cached_tokens, output_tokens)

    def take(self, held_requests: int, now_ms: float) -> Demand:
        """All since the last time. `held_requests` wait at the gateway until there is a replica."""
        estimator, ledger = self._router.estimator, self._router.ledger
        speed = self._router.yardstick.measured(estimator.of(ANY_REPLICA, now_ms))
        demand = Demand(
            arrived_requests=self._arrived,
            finished_requests=self._finished,
            met_requests=self._met,
            waiting_requests=held_requests,
            waiting_ms=held_requests * self._prefill_ms + ledger.own_queue_ms(now_ms),
            shape=Shape(self._prefill_ms, self._prefill_ms_squared, estimator.output_tokens, self._context_tokens),
            speed=Speed(speed.step_ms, speed.step_ms_per_sequence, speed.step_ms_per_ktoken),
            remembered_requests=self._remembered,
            in_flight=ledger.own_requests(),
            sampled=tuple(self._sampled),
            seconds=(now_ms - self._taken_ms) / 1000 if self._taken_ms else 0.0,
        )
        self._taken_ms = now_ms
        self._arrived = self._finished = self._met = self._answered = 0
        self._sampled = []
        return demand
