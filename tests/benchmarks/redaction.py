"""What redaction finds of 2,000 generated items, and what it costs a gateway: each request, each chunk, once.

`python -m tests.benchmarks.redaction [--json OUT]`. The seed of the items is none that the detectors were written with.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from cluster.bench.overhead_run import commit_id
from deployments.gateway.answer_tap import AnswerTap
from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.restoration import Restoration
from deployments.gateway.privacy.restoring_tap import RestoringTap
from deployments.gateway.request_reader import RequestReader
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import Privacy
from tests.unit.privacy.evaluation import evaluated
from tests.unit.privacy.items import COUNT, items
from tests.unit.privacy.requests import DATA
from tests.unit.privacy.streams import CHAT

SEED = 20_261_126
REGIONS = {"US (the default)": ("US",), "US, GB, DE, FR": ("US", "GB", "DE", "FR")}
ROUNDS = 9
PROSE = "The delivery of order 20417 came at 9:30, two days late, and one of the 4 boxes was open. "
PROMPTS = {
    "short chat": "What is the capital of France?",
    "chat of 8 kB": PROSE * 90,
    "chat of 8 kB with 5 values": PROSE * 45 + DATA + PROSE * 45,
    "chat of 100 kB": PROSE * 1_120,
}
LOADED = """
import time
from pathlib import Path
from deployments.gateway import server
def kib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4
before, began_s = kib(), time.perf_counter()
from deployments.gateway.privacy.detection import Detector
Detector(("US", "GB", "DE", "FR")).find("+49 30 901820, (415) 555-2671, DE89370400440532013000, 4111111111111111")
print(kib() - before, time.perf_counter() - began_s)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    out = parser.parse_args().json
    result = {
        "benchmark": "redaction",
        "commit": commit_id(),
        "found": found(),
        "request_us": asyncio.run(requests_us()),
        "chunk_us": chunks_us(),
        "loading": loading(),
    }
    print(json.dumps(result, indent=1))
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n")


def found() -> dict[str, Any]:
    generated = items(SEED)
    regions = {name: evaluated(Detector(codes), generated).as_document() for name, codes in REGIONS.items()}
    return {"seed": SEED, "items": COUNT, "regions": regions}


async def requests_us() -> dict[str, dict[str, float]]:
    """Microseconds of CPU time to read a request, median of rounds."""
    reader = RequestReader(GatewaySettings)
    told: dict[str, dict[str, float]] = {}
    for name, prompt in PROMPTS.items():
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]})
        told[name] = {}
        modes: tuple[Privacy, ...] = ("off", "redact", "restore")
        for privacy in modes:
            times = []
            for _ in range(ROUNDS):
                count = max(3, 2_000_000 // (len(body) + 20_000))
                began_s = time.process_time()
                for _ in range(count):
                    await reader.read(CHAT, body, "salt", privacy)
                times.append((time.process_time() - began_s) / count * 1e6)
            told[name][privacy] = round(statistics.median(times), 1)
    return told


def chunks_us() -> dict[str, float]:
    """Microseconds of CPU time for one chunk of a stream."""
    plain, held, whole = (chunk(text) for text in (" Paris", " <EMA", " <EMAIL_1>"))
    restoration = Restoration({"<EMAIL_1>": "ann@example.com"})
    return {
        "off": each_us(lambda: tap_of(AnswerTap).event_data, [plain]),
        "restore, no bracket": each_us(lambda: restoring(restoration).event_data, [plain]),
        "restore, a placeholder": each_us(lambda: restoring(restoration).event_data, [whole]),
        "restore, a placeholder over two chunks": each_us(
            lambda: restoring(restoration).event_data, [held, chunk("IL_1>")]
        ),
    }


def restoring(restoration: Restoration) -> AnswerTap:
    return tap_of(lambda **of_answer: RestoringTap(restoration, CHAT, **of_answer))


def tap_of(make: Callable[..., AnswerTap]) -> AnswerTap:
    return make(wanted=None, prompts=1, choices=1, on_first_token=lambda: None, last_headers=lambda _: [], comment=None)


def chunk(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    document = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + orjson.dumps(document) + b"\n\n"


def each_us(make: Callable[[], Callable[[bytes], bytes]], chunks: list[bytes], count: int = 20_000) -> float:
    times = []
    for _ in range(ROUNDS):
        feed = make()
        began_s = time.process_time()
        for _ in range(count):
            for data in chunks:
                feed(data)
        times.append((time.process_time() - began_s) / count / len(chunks) * 1e6)
    return round(statistics.median(times), 2)


def loading() -> dict[str, float]:
    """In a process that has the gateway loaded."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    kib, seconds = done.stdout.split()
    return {"memory_mb": round(int(kib) * 1024 / 1e6, 1), "seconds": round(float(seconds), 3)}


if __name__ == "__main__":
    main()
