"""What a path to an engine costs: each asked beside its reference, all interleaved in one run."""

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.bench.http_load import Reply, Target, post, run_streams

SETTLE_S = 1.5


@dataclass(frozen=True, slots=True)
class OverheadPlan:
    """`streams` × `output_tokens` for throughput, then single streams for time to first token, in blocks.

    vLLM's CPU workers spin for a second after their last step. With several engines on one machine the next one would
    be measured against that, so every turn begins after `SETTLE_S` and with a request that does not count.
    """

    model: str
    streams: int = 32
    output_tokens: int = 64
    requests_per_stream: int = 4
    rounds: int = 9
    single_blocks: int = 6
    single_requests: int = 12
    single_output_tokens: int = 8


@dataclass(frozen=True, slots=True)
class Round:
    """One target's turn. Throughput in output tokens per second, times in milliseconds."""

    target: str
    round: int
    output_tokens_per_s: float
    ttft_ms_p50: float
    e2e_ms_p50: float


@dataclass(frozen=True, slots=True)
class Added:
    """What one path costs beside its reference: ratio of throughputs (median over rounds), added milliseconds."""

    reference: str
    throughput_ratio: float
    throughput_ratio_min: float
    throughput_ratio_max: float
    ttft_added_ms_p50: float
    ttft_added_ms_p95: float


@dataclass(frozen=True, slots=True)
class OverheadResult:
    """`added` has an entry for each target that was compared with another; the rest is raw."""

    added: dict[str, Added]
    rounds: list[Round]
    single_ttft_ms: dict[str, list[float]]


class OverheadError(Exception):
    """A target answered with something other than the tokens asked for."""


async def measure_overhead(pairs: Sequence[tuple[Target, Target]], plan: OverheadPlan) -> OverheadResult:
    """Each pair is a path and its reference. All take turns within each round: a noisy neighbour hits every one.

    Raises:
        OverheadError: an answer was not 200 or had another number of tokens than asked for.
        LoadError, OSError: a connection broke.
    """
    targets = list({target.name: target for pair in pairs for target in reversed(pair)}.values())
    for target in targets:
        await _one_round(target, plan, -1)
    rounds: list[Round] = []
    for number in range(plan.rounds):
        rounds += [await _one_round(target, plan, number) for target in _in_turn(targets, number)]
    singles = await _single_streams(targets, plan)
    added = {path.name: _added(path.name, reference.name, rounds, singles, plan) for path, reference in pairs}
    return OverheadResult(added, rounds, singles)


def _added(
    path: str, reference: str, rounds: Sequence[Round], singles: Mapping[str, Sequence[float]], plan: OverheadPlan
) -> Added:
    ratios = [
        _throughput(rounds, path, number) / _throughput(rounds, reference, number) for number in range(plan.rounds)
    ]
    return Added(
        reference=reference,
        throughput_ratio=statistics.median(ratios),
        throughput_ratio_min=min(ratios),
        throughput_ratio_max=max(ratios),
        ttft_added_ms_p50=_percentile(singles[path], 50) - _percentile(singles[reference], 50),
        ttft_added_ms_p95=_percentile(singles[path], 95) - _percentile(singles[reference], 95),
    )


def _in_turn(targets: list[Target], number: int) -> list[Target]:
    """Each round begins with another target."""
    start = number % len(targets)
    return targets[start:] + targets[:start]


async def _one_round(target: Target, plan: OverheadPlan, number: int) -> Round:
    def request(index: int) -> bytes:
        return post(target, "/v1/completions", _body(plan, f"{number} {index}", plan.output_tokens))

    await asyncio.sleep(SETTLE_S)
    await _single(target, plan, f"warm {number}")
    wall_s, replies = await run_streams(target, plan.streams, plan.requests_per_stream, request)
    tokens = sum(_checked(reply, plan.output_tokens).output_tokens for reply in replies)
    return Round(
        target=target.name,
        round=number,
        output_tokens_per_s=tokens / wall_s,
        ttft_ms_p50=1000 * statistics.median(reply.first_byte_s for reply in replies),
        e2e_ms_p50=1000 * statistics.median(reply.end_s for reply in replies),
    )


async def _single_streams(targets: list[Target], plan: OverheadPlan) -> dict[str, list[float]]:
    """Time to first token of one stream at a time, the targets taking turns block by block."""
    times_ms: dict[str, list[float]] = {target.name: [] for target in targets}
    for block in range(plan.single_blocks):
        for target in _in_turn(targets, block):
            await asyncio.sleep(SETTLE_S)
            await _single(target, plan, f"warm {block}")
            times_ms[target.name] += [
                await _single(target, plan, f"single {block} {number}") for number in range(plan.single_requests)
            ]
    return times_ms


async def _single(target: Target, plan: OverheadPlan, salt: str) -> float:
    request = post(target, "/v1/completions", _body(plan, salt, plan.single_output_tokens))
    _, (reply,) = await run_streams(target, 1, 1, lambda _: request)
    return 1000 * _checked(reply, plan.single_output_tokens).first_byte_s


def _body(plan: OverheadPlan, salt: str, output_tokens: int) -> dict[str, object]:
    return {
        "model": plan.model,
        "prompt": f"{salt}: the history of physics begins with",
        "max_tokens": output_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _checked(reply: Reply, output_tokens: int) -> Reply:
    if reply.status != 200 or reply.output_tokens != output_tokens:
        raise OverheadError(
            f"expected status 200 and {output_tokens} tokens, "
            f"got status {reply.status} and {reply.output_tokens} tokens"
        )
    return reply


def _throughput(rounds: Sequence[Round], target: str, number: int) -> float:
    return next(r.output_tokens_per_s for r in rounds if r.target == target and r.round == number)


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
