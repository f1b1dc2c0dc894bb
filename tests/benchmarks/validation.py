"""The simulator beside the real engine: `python -m tests.benchmarks.validation --trace FILE [--json OUT]`.

A 135M model on this machine's CPU is measured alone (prefills of several lengths, decodes of several batches), its step
time is fitted to that, and a stretch of the trace is then played to the engine and to the simulator at the same times.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np

from cluster.run_folder import store_folder
from cluster.simulator.policies.by_load import RoundRobin
from cluster.simulator.simulation import Fleet, simulate
from cluster.simulator.summary import percentile
from cluster.simulator.trace_request import TraceRequest
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.internal_token import token_now
from engine.launch import EngineLaunch
from engine.memory_budget import GIB
from engine.probe import EngineProbe
from engine.simulated.profiles import Profile
from engine.simulated.step_time import StepTime, prefill_mpairs
from engine.vllm_command import vllm_command
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
from tests.benchmarks.gateway_cpu import free_port
from tests.benchmarks.real_load import FIRST_TOKEN, TOKENS, Job, Measured, conversations, play, prompt_of

MODEL = "smollm2-135m-instruct"
MAX_MODEL_LEN = 4096
PREFILLS = (32, 128, 256, 512, 1024, 2048)
DECODES = ((1, 32), (4, 32), (12, 32), (4, 512), (12, 512), (4, 1024))
DECODED_TOKENS = 40
REPEATS = 3
CACHED_TOKENS = 32
LEVELS = (0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Sample:
    """One step's features, in the order of the coefficients, and how long it took."""

    features: tuple[float, float, float, float]
    step_ms: float


def launch(port: int) -> EngineLaunch:
    folder = ModelStore(store_folder()).materialise(parse_source(f"bundled:{MODEL}"))
    return EngineLaunch(
        model=MODEL,
        model_path=folder,
        device="cpu",
        host="127.0.0.1",
        port=port,
        internal_token="validation",
        kv_cache_bytes=2 * GIB,
        engine_args={"max_model_len": MAX_MODEL_LEN, "max_num_batched_tokens": 8192, "block_size": CACHED_TOKENS},
    )


def random_prompt(source: Random, tokens: int) -> list[int]:
    return [FIRST_TOKEN + source.randrange(TOKENS) for _ in range(tokens)]


async def calibrate(ask: Callable[[list[Job]], "asyncio.Future[list[Measured]]"]) -> list[Sample]:
    """Each case several times, prompts never seen before."""
    source, samples = Random(1), []
    for _ in range(REPEATS):
        for tokens in PREFILLS:
            (alone,) = await ask([Job(0, random_prompt(source, tokens), 1)])
            samples.append(Sample((1.0, tokens, prefill_mpairs(tokens, 0), 0.0), alone.ttft_ms))
        for batch, context in DECODES:
            together = await ask([Job(0, random_prompt(source, context), DECODED_TOKENS) for _ in range(batch)])
            held_ktokens = batch * (context + DECODED_TOKENS / 2) / 1000
            samples.append(Sample((1.0, batch, 0.0, held_ktokens), min(one.tpot_ms for one in together)))
    return samples


def fitted(samples: Sequence[Sample]) -> tuple[StepTime, float]:
    """Least squares of relative errors, nothing below zero; and the mean relative error."""
    rows = np.array([[feature / sample.step_ms for feature in sample.features] for sample in samples])
    kept = list(range(rows.shape[1]))
    while True:
        solved, *_ = np.linalg.lstsq(rows[:, kept], np.ones(len(samples)), rcond=None)
        if min(solved) >= 0:
            break
        kept.pop(int(np.argmin(solved)))
    coefficients = dict.fromkeys(range(rows.shape[1]), 0.0) | dict(zip(kept, map(float, solved), strict=True))
    c0, c_tok, c_attn, c_kv = (coefficients[i] for i in range(4))
    error = float(np.mean(np.abs(rows @ np.array([c0, c_tok, c_attn, c_kv]) - 1)))
    return StepTime(c0, 0, 0.0, c_tok, c_attn, c_kv, 0.0), error


def figures(ttft_ms: list[float], tpot_ms: list[float], e2e_ms: list[float], hit: float) -> dict[str, float]:
    named = {"ttft": ttft_ms, "tpot": tpot_ms, "e2e": e2e_ms}
    report = {f"{name}_mean_ms": statistics.fmean(values) for name, values in named.items()}
    report |= {f"{name}_p{level * 100:.0f}_ms": percentile(v, level) for name, v in named.items() for level in LEVELS}
    return {**report, "prefix_hit_rate": hit}


def figures_of_engine(measured: list[Measured]) -> dict[str, float]:
    return figures(
        [one.ttft_ms for one in measured],
        [one.tpot_ms for one in measured if one.output_tokens > 1],
        [one.e2e_ms for one in measured],
        sum(one.cached_tokens for one in measured) / sum(one.prompt_tokens for one in measured),
    )


def figures_of_simulator(requests: list[TraceRequest], profile: Profile) -> dict[str, float]:
    done = list(simulate(requests, Fleet(profile, 1, hash_tokens=CACHED_TOKENS), RoundRobin, 0))
    return figures(
        [one.first_token_ms - one.arrived_ms for one in done],
        [(one.finished_ms - one.first_token_ms) / (one.output_tokens - 1) for one in done if one.output_tokens > 1],
        [one.finished_ms - one.arrived_ms for one in done],
        sum(one.cached_tokens for one in done) / sum(one.prompt_tokens for one in done),
    )


async def compare(trace: Path, requests: int, rate_req_s: float) -> dict[str, object]:
    port = free_port()
    asked = launch(port)
    with tempfile.TemporaryDirectory() as folder:
        process = EngineProcess(vllm_command(asked, available_cores()), Path(folder) / "engine.log", "validation")
        probe = EngineProbe(asked)
        try:
            await probe.wait_ready(process, 240)
            tokens = await probe.kv_cache_tokens()
            assert tokens is not None, "the engine does not tell the size of its cache"
            headers = {"x-baryon-internal-token": token_now(asked.internal_token).decode()}

            def ask(jobs: list[Job]) -> "asyncio.Future[list[Measured]]":
                return asyncio.ensure_future(play(probe.url, MODEL, jobs, headers))

            await ask([Job(0, random_prompt(Random(0), 256), 8)])
            samples = await calibrate(ask)
            step_time, error = fitted(samples)
            chosen, block_tokens = conversations(trace, requests, rate_req_s, MAX_MODEL_LEN)
            measured = await ask(
                [Job(r.arrived_ms / 1000, prompt_of(r, block_tokens, "validation"), r.output_tokens) for r in chosen]
            )
        finally:
            await process.kill()
    at_their_times = [
        TraceRequest(one.sent_s * 1000, r.input_tokens, r.output_tokens, r.blocks[1::2])
        for r, one in zip(chosen, measured, strict=True)
    ]
    engine = figures_of_engine(measured)
    simulated = figures_of_simulator(at_their_times, Profile("fitted", step_time, tokens))
    return {
        "requests": len(chosen),
        "rate_req_s": rate_req_s,
        "step_time": asdict(step_time),
        "fit_mean_relative_error": error,
        "kv_cache_tokens": tokens,
        "engine": engine,
        "simulator": simulated,
        "simulator_to_engine": {name: simulated[name] / engine[name] if engine[name] else 1.0 for name in engine},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--rate", type=float, default=0.6, help="requests per second")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = asyncio.run(compare(arguments.trace, arguments.requests, arguments.rate))
    print(json.dumps(report, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
