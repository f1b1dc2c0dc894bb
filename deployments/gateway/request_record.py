"""What became of one inference request: who asked, where its time went, what it took. Not a word of what was asked."""

import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol

from deployments.gateway.errors import GatewayError
from deployments.gateway.request_trace import RequestTrace
from deployments.gateway.stages import AUTH, CONNECT, ENGINE, NAMES, QUEUE, READ, RETRY, ROUTE, Stages
from deployments.gateway.usage import Usage

Outcome = Literal["completed", "client_gone", "broken", "timed_out", "refused", "shed", "failed"]
SHED = frozenset({"at_capacity", "model_not_ready", "shutting_down", "keys_unknown", "limits_unknown"})
NOT_SHOWN = frozenset({"stages", "trace", "gaps_ms", "engine_queue_ms", "prefill_ms", "decode_ms"})


@cache
def server_timing_of(names: tuple[str, ...]) -> str:
    """To be filled with their milliseconds; there are few sets of names."""
    return ", ".join(f"{name};dur=%.3f" for name in names)


@dataclass(slots=True, eq=False)
class RequestRecord:
    """Filled as the request passes, and given to every observer once, when nothing changes any more.

    `path`, `model`, `tenant` and `error_code` are names that this gateway knows, never what a client made up; empty
    where it did not come so far. `priority` is the tenant's class. `began_s` is since the epoch; `status` is 0 if the
    client left before it had one. `ttft_ms` is as the client sees it in a stream, and as the engine tells it otherwise.
    `engine_queue_ms`, `prefill_ms`, `decode_ms`: the engine's own words. `gaps_ms`: between one piece of a stream and
    the next, without the wait for the first and without the last, which is its end. `tried`: replicas that were asked
    before. `slo_met`: None where the SLO does not say. `recipe`, `part_of`: of an engine call that a recipe made, the
    name and the id of the recipe's own request. `parts`: how many engine calls were made for it.
    """

    request_id: str
    gateway_id: str
    path: str
    stages: Stages = field(default_factory=Stages)
    began_s: float = field(default_factory=time.time)
    client_request_id: str = ""
    recipe: str = ""
    part_of: str = ""
    parts: int = 0
    trace_id: str = ""
    trace: RequestTrace | None = None
    model: str = ""
    tenant: str = ""
    priority: int = 0
    stream: bool = False
    engine_queue_ms: float | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    ttft_ms: float | None = None
    gaps_ms: "array[float]" = field(default_factory=lambda: array("f"))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    replica: str = ""
    tried: tuple[str, ...] = ()
    predicted_hit_tokens: float | None = None
    predicted_ttft_ms: float | None = None
    outcome: Outcome = "client_gone"
    status: int = 0
    error_code: str = ""
    slo_met: bool | None = None

    @property
    def e2e_ms(self) -> float:
        """From the whole request here to the last byte of its answer."""
        return self.stages.e2e_ms

    @property
    def auth_ms(self) -> float:
        return self.stages.spent_ms[AUTH]

    @property
    def read_ms(self) -> float:
        """Parsing and checking the body, and fetching the media it names."""
        return self.stages.spent_ms[READ]

    @property
    def queue_ms(self) -> float:
        """Waiting in this gateway: for a limit, or for a replica with room."""
        return self.stages.spent_ms[QUEUE]

    @property
    def route_ms(self) -> float:
        return self.stages.spent_ms[ROUTE]

    @property
    def connect_ms(self) -> float:
        return self.stages.spent_ms[CONNECT]

    @property
    def engine_ms(self) -> float:
        """From the request sent to the replica to the end of its answer."""
        return self.stages.spent_ms[ENGINE]

    @property
    def retry_ms(self) -> float:
        """With replicas that had it before and did not answer."""
        return self.stages.spent_ms[RETRY]

    def engine_told(self, usage: Usage) -> None:
        self.engine_queue_ms, self.prefill_ms, self.decode_ms = usage.queue_ms, usage.prefill_ms, usage.decode_ms

    def stages_ms(self) -> dict[str, float]:
        """Up to now, in order. The engine's time is as its parts once it has told them; `transfer` is what they leave:
        its HTTP server, tokenizing, and the way there and back.
        """
        known = dict(zip(NAMES, self.stages.so_far_ms(), strict=True))
        engine_ms, retry_ms = known.pop("engine"), known.pop("retry")
        if retry_ms:
            known["retry"] = retry_ms
        if self.prefill_ms is not None:
            parts = {
                "engine_queue": self.engine_queue_ms or 0.0,
                "prefill": self.prefill_ms,
                "decode": self.decode_ms or 0.0,
            }
            known |= {**parts, "transfer": max(0.0, engine_ms - sum(parts.values()))}
        elif engine_ms:
            known["engine"] = engine_ms
        return known

    def server_timing(self) -> bytes:
        """For the header of that name."""
        stages_ms = self.stages_ms()
        return (server_timing_of(tuple(stages_ms)) % tuple(stages_ms.values())).encode()

    def ended_by(self, error: GatewayError) -> None:
        self.error_code = error.code
        self.outcome = "refused" if error.status < 500 else "shed" if error.code in SHED else "failed"

    def document(self) -> dict[str, Any]:
        """For JSON; times in milliseconds, to the microsecond."""
        shown = {name: getattr(self, name) for name in self.__slots__ if name not in NOT_SHOWN}
        stages_ms = {name: round(ms, 3) for name, ms in self.stages_ms().items()}
        rounded = {name: round(value, 3) for name, value in shown.items() if isinstance(value, float)}
        return {**shown, **rounded, "e2e_ms": round(self.e2e_ms, 3), "stages_ms": stages_ms}


Observer = Callable[[RequestRecord], None]


class Tracing(Protocol):
    """All requests' traces."""

    def begin(self, headers: Mapping[bytes, bytes], record: RequestRecord) -> RequestTrace: ...

    def ended(self, record: RequestRecord) -> None: ...

    def close(self) -> None:
        """Send what is left; may block."""
