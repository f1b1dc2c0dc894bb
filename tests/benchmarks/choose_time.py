"""What a choice among five labels takes beside one generated token of the same prompt: the default model on real vLLM.

`python -m tests.benchmarks.choose_time [--json FILE]`. Both through the same gateway, by turns, each with a text of its
own that no cache has; the calibration is there already. Every time is kept.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from cluster.bench.overhead_run import commit_id, write_json
from deployments.gateway.recipes.chooser import Chooser
from tests.benchmarks.reading_stand import ReadingStand, reading_stand
from tests.sets.sets import asking, labelled, question, read

CHAT = b"/v1/chat/completions"
OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "choose_time.json"
VLLMS_BLOCK_TOKENS = 128
SENTENCES = (1, 12)
ROUNDS = 12


class Race:
    def __init__(self, stand: ReadingStand) -> None:
        self._stand = stand
        self._chooser = Chooser(lambda _: 1)
        self._render = asking("classify")
        self._labels = tuple(read("topic"))
        self._all = [sentence.text for sentence in labelled(read("topic"))]
        self._source = Random(0)

    def text(self, sentences: int) -> str:
        """Never the same beginning twice."""
        return f"{self._source.randrange(10**6)}. " + " ".join(self._source.sample(self._all, sentences))

    async def choose_ms(self, sentences: int) -> float:
        asked = question(self._render, self._stand.model, self.text(sentences), self._labels)
        began_s = time.perf_counter()
        choice = await self._chooser.choose(self._stand.calls(), asked)
        took_ms = (time.perf_counter() - began_s) * 1000
        assert choice.cost.reads in (1, 3), "one read, and two of calibration the first time"
        return took_ms

    async def one_token_ms(self, sentences: int) -> float:
        body = {
            "model": self._stand.model,
            "messages": self._render(self.text(sentences)),
            "max_tokens": 1,
            "temperature": 0,
            "add_generation_prompt": False,
            "continue_final_message": True,
        }
        began_s = time.perf_counter()
        await self._stand.calls().ask(CHAT, body)
        return (time.perf_counter() - began_s) * 1000

    async def run(self, sentences: int) -> dict[str, Any]:
        choose, token = [], []
        for number in range(ROUNDS + 2):
            if number % 2:
                token.append(await self.one_token_ms(sentences))
                choose.append(await self.choose_ms(sentences))
            else:
                choose.append(await self.choose_ms(sentences))
                token.append(await self.one_token_ms(sentences))
        choose, token = choose[2:], token[2:]
        medians = statistics.median(choose), statistics.median(token)
        return {
            "sentences": sentences,
            "choose_ms": choose,
            "one_token_ms": token,
            "medians_ms": medians,
            "ratio": medians[0] / medians[1],
        }


async def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        async with reading_stand(Path(folder), VLLMS_BLOCK_TOKENS) as stand:
            race = Race(stand)
            return {"model": stand.model, "labels": 5, "runs": [await race.run(sentences) for sentences in SENTENCES]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT)
    arguments = parser.parse_args()
    document = asyncio.run(measure())
    write_json({**document, "commit": commit_id()}, arguments.json)
    for run in document["runs"]:
        print(run["sentences"], "sentences:", [round(ms, 1) for ms in run["medians_ms"]], round(run["ratio"], 3))


if __name__ == "__main__":
    main()
