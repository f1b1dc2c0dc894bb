"""What choosing a replica costs: `python -m tests.benchmarks.decision_cost [--json OUT]`.

Prompts of 8,000 tokens in 42 blocks that share beginnings of every length, on replicas that remember 20 such prompts
each, with requests in flight on all. Reading a prompt's blocks (32 KB of text) is timed beside it. Medians of rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random

from deployments.gateway.prompt_blocks import prompt_blocks
from deployments.gateway.routing.router import Placement, Prompt, Router, Told
from deployments.gateway.routing.score import Slo

REPLICAS = (8, 64, 1_000)
PROMPT_TOKENS, PROMPT_BYTES, BLOCKS = 8_000, 32_768, 42
IN_FLIGHT, REMEMBERED = 4, 20
CONVERSATIONS = 50
ROUNDS, DECISIONS = 9, 50


def filled_router(replicas: list[str], random: Random, prompts: list[Prompt]) -> Router:
    """Every replica has `REMEMBERED` prompts of its own in its cache and `IN_FLIGHT` requests."""
    router, ends = Router(random, Slo(2_000, 100)), prompts[0].ends
    now = count(0.0, 10.0)
    for replica in replicas:
        router.set_cache_tokens(replica, 400_000)
        opened: list[Placement] = []
        for _ in range(REMEMBERED):
            known = random.choice(prompts).blocks[: random.randrange(BLOCKS)]
            blocks = (*known, *(random.getrandbits(64) for _ in range(BLOCKS - len(known))))
            opened.append(router.place(Prompt(PROMPT_TOKENS, blocks, ends), [replica], next(now)))
        for placement in opened[IN_FLIGHT:]:
            router.first_token(placement, next(now))
            router.finish(placement, next(now), Told(200, PROMPT_TOKENS, round(placement.terms.hit_tokens)))
    return router


def median_ms(once: Callable[[int], object]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        for number in range(DECISIONS):
            once(number)
        rounds.append((time.perf_counter() - started_s) / DECISIONS * 1000)
    return statistics.median(rounds)


def decision_ms(count_of_replicas: int) -> float:
    """Placing a request and taking it off again."""
    random = Random(1)
    ends = tuple(PROMPT_TOKENS / BLOCKS * (i + 1) for i in range(BLOCKS))
    prompts = [
        Prompt(PROMPT_TOKENS, tuple(random.getrandbits(64) for _ in range(BLOCKS)), ends) for _ in range(CONVERSATIONS)
    ]
    replicas = [f"replica-{i}" for i in range(count_of_replicas)]
    router = filled_router(replicas, random, prompts)

    def decide(number: int) -> None:
        router.finish(router.place(prompts[number % CONVERSATIONS], replicas, 1e6), 1e6, Told())

    return median_ms(decide)


def blocks_ms() -> float:
    text = "".join(Random(2).choices("abcdefgh ", k=PROMPT_BYTES))
    document = {"messages": [{"role": "user", "content": text}]}
    return median_ms(lambda _: prompt_blocks(document, b"model"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = {"blocks_ms": blocks_ms(), "decision_ms": {str(n): decision_ms(n) for n in REPLICAS}}
    print(f"reading the blocks of {PROMPT_BYTES // 1024} KB: {report['blocks_ms']:.3f} ms")
    for replicas, cost_ms in report["decision_ms"].items():
        print(f"a decision among {replicas} replicas: {cost_ms:.3f} ms")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
