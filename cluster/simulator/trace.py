"""Request traces: read as a stream, in whichever of the known formats the first line shows."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from cluster.simulator.formats import azure, mooncake, servegen
from cluster.simulator.trace_request import TraceError, TraceRequest, numbered_lines

LOOK_AHEAD = 1000
MOONCAKE_BLOCK_TOKENS = 512
BLOCK_TOKENS_KNOWN = (16, 32, 64, 128, 256, MOONCAKE_BLOCK_TOKENS, 1024)
KNOWN = (
    'a Mooncake trace (JSON lines with "timestamp", "input_length", "output_length", "hash_ids"), '
    f"an Azure trace (CSV with {', '.join(azure.COLUMNS)}) "
    f"or a ServeGen rate table (CSV with {', '.join(servegen.COLUMNS)}; lengths beside it *{servegen.LENGTHS_SUFFIX})"
)
Reader = Callable[[Path, int], Iterator[TraceRequest]]


@dataclass(frozen=True, slots=True)
class Trace:
    """`block_tokens` is the unit of `TraceRequest.blocks`; `arrivals_quantum_ms` that of its clock, 0 if it is fine."""

    path: Path
    block_tokens: int
    arrivals_quantum_ms: float = 0.0

    def requests(self, seed: int, speedup: float = 1.0) -> Iterator[TraceRequest]:
        """In order of arrival: spread over the quantum of the trace's clock, then divided by `speedup`.

        Raises:
            TraceError: a line cannot be read.
        """
        source = random.Random(seed)  # noqa: S311
        quantum: list[TraceRequest] = []
        for request in _reader(self.path)(self.path, seed):
            if quantum and request.arrived_ms != quantum[0].arrived_ms:
                spread_ms = min(self.arrivals_quantum_ms, request.arrived_ms - quantum[0].arrived_ms)
                yield from self._spread(quantum, spread_ms, source, speedup)
                quantum = []
            quantum.append(request)
        yield from self._spread(quantum, self.arrivals_quantum_ms, source, speedup)

    def _spread(
        self, quantum: list[TraceRequest], spread_ms: float, source: random.Random, speedup: float
    ) -> Iterator[TraceRequest]:
        offsets = sorted(source.uniform(0, spread_ms) for _ in quantum)
        for request, offset_ms in zip(quantum, offsets, strict=True):
            arrived_ms = (request.arrived_ms + offset_ms) / speedup
            blocks = request.blocks[: request.input_tokens // self.block_tokens]
            yield TraceRequest(arrived_ms, request.input_tokens, request.output_tokens, blocks)


def open_trace(path: Path) -> Trace:
    """What kind of trace this is, from its first lines.

    A Mooncake trace has one hash id for every `block_tokens` of prompt, also for the last, begun one.

    Raises:
        TraceError: it cannot be read, or is of no known format.
    """
    if _reader(path) is not mooncake.requests:
        return Trace(path, MOONCAKE_BLOCK_TOKENS)
    head = list(islice(mooncake.requests(path, 0), LOOK_AHEAD))
    return Trace(path, _block_tokens(path, head), _quantum_ms([r.arrived_ms for r in head]))


def _block_tokens(path: Path, head: list[TraceRequest]) -> int:
    hashed = [request for request in head if request.blocks]
    if not hashed:
        return MOONCAKE_BLOCK_TOKENS
    for size in BLOCK_TOKENS_KNOWN:
        if all(len(r.blocks) in (r.input_tokens // size, -(-r.input_tokens // size)) for r in hashed):
            return size
    raise TraceError(
        f"{path}: the hash ids fit no block size: each must stand for the same number of prompt tokens, "
        f"one of {', '.join(map(str, BLOCK_TOKENS_KNOWN))}"
    )


def _quantum_ms(arrivals_ms: list[float]) -> float:
    """The clock's tick, if most requests share their time with another."""
    gaps = [after - before for before, after in pairwise(arrivals_ms) if after > before]
    shared = len(gaps) < len(arrivals_ms) / 2
    return min(gaps) if gaps and shared else 0.0


def _reader(path: Path) -> Reader:
    number, first = next(((number, line.strip()) for number, line in numbered_lines(path)), (1, ""))
    if first.startswith("{"):
        return mooncake.requests
    header = tuple(word.strip() for word in first.lstrip("\ufeff").split(","))
    if header == azure.COLUMNS:
        return azure.requests
    if header == servegen.COLUMNS:
        return servegen.requests
    raise TraceError(f"{path}:{number}: {first[:60]!r} begins no known format; expected {KNOWN}")
