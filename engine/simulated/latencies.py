"""How long requests took in the simulated engine: vLLM's own histograms, with its buckets."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram

from engine.simulated.timings import Timings

FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
BETWEEN_TOKENS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)


class Latencies:
    """One engine's."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._first_token = self._histogram("time_to_first_token_seconds", FIRST_TOKEN_S)
        self._between_tokens = self._histogram("inter_token_latency_seconds", BETWEEN_TOKENS_S)
        self._whole = self._histogram("e2e_request_latency_seconds", REQUEST_S)
        self._queue = self._histogram("request_queue_time_seconds", REQUEST_S)
        self._prefill = self._histogram("request_prefill_time_seconds", REQUEST_S)
        self._decode = self._histogram("request_decode_time_seconds", REQUEST_S)

    def got_token(self, timings: Timings, before_s: float) -> None:
        """`before_s`: when the request had got its last one; 0 if this is its first."""
        if before_s:
            self._between_tokens.observe(timings.last_token_s - before_s)
        else:
            self._first_token.observe(timings.first_token_s - timings.queued_s)

    def ended(self, timings: Timings) -> None:
        """With its last token."""
        self._whole.observe(timings.last_token_s - timings.queued_s)
        self._queue.observe(timings.scheduled_s - timings.queued_s)
        self._prefill.observe(timings.first_token_s - timings.scheduled_s)
        self._decode.observe(timings.last_token_s - timings.first_token_s)

    def lines(self, labels: str) -> Iterator[str]:
        """Of Prometheus text; `labels` are on each."""
        for family in self._registry.collect():
            yield f"# TYPE {family.name} histogram"
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    bound = "".join(f',{name}="{value}"' for name, value in sample.labels.items())
                    yield f"{sample.name}{{{labels}{bound}}} {sample.value}"

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"vllm:{name}", f"Simulated {name}.", registry=self._registry, buckets=buckets)
