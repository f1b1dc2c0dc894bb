"""Request traces: read as a stream, in whichever of the known formats the first line shows."""

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, TextIO

LOOK_AHEAD = 1000
MOONCAKE_BLOCK_TOKENS = 512
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
RATE_COLUMNS = ("t_s", "rate_req_s")
LENGTHS_SUFFIX = "_lengths.jsonl"
RATE_SUFFIX = "_rate.csv"
KNOWN = (
    'a Mooncake trace (JSON lines with "timestamp", "input_length", "output_length", "hash_ids"), '
    f"an Azure trace (CSV with {', '.join(AZURE_COLUMNS)}) "
    f"or a ServeGen rate table (CSV with {', '.join(RATE_COLUMNS)}, lengths beside it in *{LENGTHS_SUFFIX})"
)


class TraceError(ValueError):
    """The file is no trace, or a line of it cannot be read; the message has file, line and what was expected."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request. `blocks` identify the prompt's full blocks of the trace's `block_tokens`, from its start."""

    arrived_ms: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


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
        for request in _FORMATS[_format_of(self.path)](self.path, seed):
            if quantum and request.arrived_ms != quantum[0].arrived_ms:
                yield from self._spread(quantum, source, speedup)
                quantum = []
            quantum.append(request)
        yield from self._spread(quantum, source, speedup)

    def _spread(self, quantum: list[TraceRequest], source: random.Random, speedup: float) -> Iterator[TraceRequest]:
        offsets = sorted(source.uniform(0, self.arrivals_quantum_ms) for _ in quantum)
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
    kind = _format_of(path)
    if kind != "mooncake":
        return Trace(path, MOONCAKE_BLOCK_TOKENS)
    head = list(islice(_mooncake(path, 0), LOOK_AHEAD))
    return Trace(path, _block_tokens(path, head), _quantum_ms([r.arrived_ms for r in head]))


def _block_tokens(path: Path, head: list[TraceRequest]) -> int:
    if not any(request.blocks for request in head):
        return MOONCAKE_BLOCK_TOKENS
    for size in (16, 32, 64, 128, 256, MOONCAKE_BLOCK_TOKENS, 1024):
        if all(len(r.blocks) in (r.input_tokens // size, -(-r.input_tokens // size)) for r in head):
            return size
    raise TraceError(f"{path}: the hash ids fit no block size: each must stand for the same number of prompt tokens")


def _quantum_ms(arrivals_ms: list[float]) -> float:
    """The clock's tick, if most requests share their time with another."""
    gaps = [after - before for before, after in pairwise(arrivals_ms) if after > before]
    shared = len(gaps) < len(arrivals_ms) / 2
    return min(gaps) if gaps and shared else 0.0


def _format_of(path: Path) -> str:
    with _open(path) as lines:
        first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("{"):
        return "mooncake"
    header = tuple(word.strip() for word in first.lstrip("\ufeff").split(","))
    if header == AZURE_COLUMNS:
        return "azure"
    if header == RATE_COLUMNS:
        return "servegen"
    raise TraceError(f"{path}:1: {first[:60]!r} begins no known format; expected {KNOWN}")


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8", errors="replace", newline="")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error


def _mooncake(path: Path, _seed: int) -> Iterator[TraceRequest]:
    last_ms = 0.0
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            request = _mooncake_request(path, number, line)
            if request.arrived_ms < last_ms:
                raise TraceError(f"{path}:{number}: 'timestamp' {request.arrived_ms:g} is before {last_ms:g}: sort it")
            last_ms = request.arrived_ms
            yield request


def _mooncake_request(path: Path, number: int, line: str) -> TraceRequest:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TraceError(f"{path}:{number}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise TraceError(f"{path}:{number}: expected an object, found {line.strip()[:40]!r}")
    hash_ids = row.get("hash_ids", [])
    if not isinstance(hash_ids, list) or not all(isinstance(item, int) for item in hash_ids):
        raise TraceError(f"{path}:{number}: 'hash_ids' must be a list of integers")
    return TraceRequest(
        _number(path, number, row, "timestamp", 0),
        int(_number(path, number, row, "input_length", 1)),
        max(1, int(_number(path, number, row, "output_length", 0))),
        tuple(hash_ids),
    )


def _number(path: Path, number: int, row: dict[str, Any], name: str, least: float) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        raise TraceError(f"{path}:{number}: {name!r} must be a number of at least {least:g}, not {value!r}")
    return float(value)


def _azure(path: Path, _seed: int) -> Iterator[TraceRequest]:
    begun: datetime | None = None
    with _open(path) as lines:
        for number, row in enumerate(csv.reader(lines), 1):
            if number == 1 or not row:
                continue
            try:
                stamp, context, generated = row
                at = datetime.fromisoformat(stamp[:26])
                tokens, output = int(context), int(generated)
            except ValueError as error:
                raise TraceError(f"{path}:{number}: expected {', '.join(AZURE_COLUMNS)}: {error}") from None
            begun = begun or at
            if at < begun or tokens < 1:
                raise TraceError(f"{path}:{number}: times must not go back, and a prompt has at least one token")
            yield TraceRequest((at - begun).total_seconds() * 1000, tokens, max(1, output))


def _servegen(path: Path, seed: int) -> Iterator[TraceRequest]:
    """Poisson arrivals at the table's rate; each request has the lengths of a client drawn from the other file."""
    source = random.Random(f"servegen {seed}")  # noqa: S311
    lengths = _servegen_lengths(Path(str(path).removesuffix(RATE_SUFFIX) + LENGTHS_SUFFIX))
    with _open(path) as lines:
        rows = chain(islice(csv.reader(lines), 1, None), [None])
        begin_s, rate, number = 0.0, 0.0, 1
        for row in rows:
            if row is None:
                return
            number += 1
            try:
                end_s, next_rate = float(row[0]), float(row[1])
            except (ValueError, IndexError):
                raise TraceError(f"{path}:{number}: expected {', '.join(RATE_COLUMNS)}, found {row!r}") from None
            at_s = begin_s
            while rate > 0 and (at_s := at_s + source.expovariate(rate)) < end_s:
                tokens, output = source.choice(lengths)
                yield TraceRequest(at_s * 1000, _draw(tokens, source), _draw(output, source))
            begin_s, rate = end_s, next_rate


Quantiles = list[tuple[float, float]]


def _servegen_lengths(path: Path) -> list[tuple[Quantiles, Quantiles]]:
    found: list[tuple[Quantiles, Quantiles]] = []
    with _open(path) as lines:
        levels: list[float] = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if "quantiles" in row:
                    levels = row["quantiles"]
                    continue
                found.append(
                    (
                        list(zip(levels, row["input_tokens"]["q"], strict=True)),
                        list(zip(levels, row["output_tokens"]["q"], strict=True)),
                    )
                )
            except (ValueError, KeyError, TypeError):
                raise TraceError(f"{path}:{number}: expected quantiles of input_tokens and output_tokens") from None
    if not found:
        raise TraceError(f"{path}: no lengths in it")
    return found


def _draw(quantiles: Quantiles, source: random.Random) -> int:
    """By the inverse of the distribution function, linear between the quantiles known."""
    level = source.random()
    below = quantiles[0]
    for above in quantiles:
        if level <= above[0]:
            share = (level - below[0]) / (above[0] - below[0]) if above[0] > below[0] else 0.0
            return max(1, round(below[1] + share * (above[1] - below[1])))
        below = above
    return max(1, round(below[1]))


_FORMATS = {"mooncake": _mooncake, "azure": _azure, "servegen": _servegen}
