"""Why a request took as long as it did: its largest stage, beside what is usual for its model, in a sentence."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Row = Mapping[str, Any]

MEANS = {
    "auth": "finding out whose it is",
    "read": "reading and checking what it asks",
    "queue": "waiting at the gateway for a replica with room",
    "route": "choosing a replica",
    "connect": "reaching the replica",
    "retry": "replicas that were asked before and did not answer",
    "engine": "the engine, which did not say more",
    "engine_queue": "waiting in the engine's own queue",
    "prefill": "computing the prompt",
    "decode": "making the answer, token by token",
    "transfer": "the way to the engine and back, its HTTP server and tokenizer",
}
ENDS = {
    "client_gone": "The client left after {}.",
    "broken": "It broke off after {}: the engine ended or lost the connection.",
    "timed_out": "It was given up after {}: the engine sent nothing for too long.",
    "refused": "It was refused after {}.",
    "shed": "It was turned away after {}, as the cluster was full or not ready.",
    "failed": "It failed after {}.",
}
FEWEST_TO_COMPARE = 5
MUCH_MORE = 1.5
LEAST_TO_DIVIDE_BY_MS = 0.5


def tpot_ms(row: Row) -> float | None:
    """Time per output token after the first, of an answer of two or more."""
    decode_ms, tokens = row["stages_ms"].get("decode"), row["output_tokens"]
    return decode_ms / (tokens - 1) if decode_ms is not None and tokens > 1 else None


def usual(others: Sequence[Row]) -> dict[str, Any] | None:
    """Medians over completed requests; None of too few."""
    completed = [row for row in others if row["outcome"] == "completed"]
    if len(completed) < FEWEST_TO_COMPARE:
        return None
    split: dict[str, list[float]] = {}
    for row in completed:
        for name, ms in row["stages_ms"].items():
            split.setdefault(name, []).append(ms)
    per_token = [ms for row in completed if (ms := tpot_ms(row)) is not None]
    return {
        "requests": len(completed),
        "e2e_ms": round(median(row["e2e_ms"] for row in completed), 3),
        "stages": {name: round(median(values), 3) for name, values in split.items()},
        "tpot_ms": round(median(per_token), 3) if per_token else None,
        "prompt_tokens": round(median(row["prompt_tokens"] for row in completed)),
        "output_tokens": round(median(row["output_tokens"] for row in completed)),
    }


def explanation(row: Row, others: Sequence[Row]) -> dict[str, Any]:
    """`others`: recent requests of the same model."""
    normal = usual([other for other in others if other["request_id"] != row["request_id"]])
    largest = max(row["stages_ms"], key=row["stages_ms"].__getitem__)
    return {"sentence": _sentence(row, largest, normal), "largest": largest, "usual": normal}


def _sentence(row: Row, largest: str, normal: Mapping[str, Any] | None) -> str:
    end = ENDS.get(row["outcome"], "It took {}.").format(in_words(row["e2e_ms"]))
    if row["outcome"] in ("refused", "shed", "failed") and row["error_code"]:
        end = f"{end[:-1]} ({row['error_code']})."
    if row["outcome"] == "refused":
        return end
    ms = row["stages_ms"][largest]
    share = ms / row["e2e_ms"] if row["e2e_ms"] else 0.0
    most = f"{share:.0%} of that was {MEANS[largest]} ({largest.replace('_', ' ')}, {in_words(ms)})"
    return f"{end} {most}{_beside_usual(row, largest, ms, normal)}"


def _beside_usual(row: Row, stage: str, ms: float, normal: Mapping[str, Any] | None) -> str:
    if normal is None:
        return "; there are too few other requests of this model to say what is usual."
    mine, typical = tpot_ms(row), normal["tpot_ms"]
    if stage == "decode" and mine is not None and typical is not None:
        tokens = f"{row['output_tokens']} tokens at {in_words(mine)} each; usual are {normal['output_tokens']}"
        return f": {tokens} at {in_words(typical)}, so {_verdict_on_decode(mine, typical, row, normal)}."
    if stage == "engine":
        return f"; a whole request of {row['model']} usually takes {in_words(normal['e2e_ms'])}."
    usual_ms = normal["stages"].get(stage, 0.0)
    if ms <= MUCH_MORE * usual_ms:
        return f", as usual for {row['model']} ({in_words(usual_ms)})."
    times = f"{ms / usual_ms:.1f} times" if usual_ms >= LEAST_TO_DIVIDE_BY_MS else "much more than"
    return f", {times} what is usual for {row['model']} ({in_words(usual_ms)})."


def _verdict_on_decode(mine: float, typical: float, row: Row, normal: Mapping[str, Any]) -> str:
    if mine > MUCH_MORE * typical:
        return f"each token took {mine / typical:.1f} times as long: the replica was busy"
    if row["output_tokens"] > MUCH_MORE * normal["output_tokens"]:
        return "it was a long answer at the usual speed"
    return "that is as usual"


def in_words(ms: float | None) -> str:
    if ms is None:
        return "an unknown time"
    if ms < 10:
        return f"{ms:.2g} ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.3g} s" if ms < 120_000 else f"{ms / 60_000:.1f} min"
