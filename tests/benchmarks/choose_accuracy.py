"""How often a choice is right, calibrated, as the model has it, and asked for in words: the default model on real vLLM.

`python -m tests.benchmarks.choose_accuracy [--json FILE] [--only TASK]`: some ten minutes on two cores.
"""

import argparse
import asyncio
import json
import math
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cluster.bench.overhead_run import commit_id
from deployments.gateway.recipes.choose import Point, Tokens, normalised
from deployments.gateway.recipes.chooser import Chooser, Messages
from deployments.gateway.recipes.label_reads import Spelling, begun_answer, read_points, spell, tokens_of
from tests.benchmarks.reading_stand import ReadingStand, reading_stand
from tests.sets.sets import ASPECT, POLAR, Sentence, asking, labelled, question, read

CHAT = b"/v1/chat/completions"
AT_ONCE = 16
MOST_WORDS_TOKENS = 12
NOTHING_SAID = ("", "[MASK]", "N/A", "...", "text")
OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "choose.json"
LONGER = {
    "sports": "sports and games",
    "business": "business and finance",
    "technology": "technology and science",
    "health": "health and medicine",
    "travel": "travel and tourism",
}
LONGER_SENTENCES = 105
LONGER_TASK = "longer labels"


@dataclass(frozen=True, slots=True)
class Task:
    name: str
    recipe: str
    labels: tuple[str, ...]
    sentences: Sequence[Sentence]


def tasks() -> list[Task]:
    sentiment, topic, fresh = read("sentiment"), read("topic"), read("fresh")
    three, five = tuple(sentiment), tuple(topic)
    return [
        Task("sentiment of two", "sentiment", POLAR, labelled({label: sentiment[label] for label in POLAR})),
        Task("sentiment of three", "sentiment", three, labelled(sentiment)),
        Task("topic of five", "classify", five, labelled(topic)),
        Task("sentiment of three, fresh", "sentiment", three, labelled(fresh["sentiment"])),
        Task("topic of five, fresh", "classify", five, labelled(fresh["topic"])),
    ]


async def choices(stand: ReadingStand, task: Task) -> list[dict[str, Any]]:
    chooser, render, room = Chooser(lambda _: 1), asking(task.recipe), asyncio.Semaphore(AT_ONCE)
    await chooser.choose(stand.calls(), question(render, stand.model, "-", task.labels))

    async def one(sentence: Sentence) -> dict[str, Any]:
        async with room:
            asked = question(render, stand.model, sentence.text, task.labels)
            choice = await chooser.choose(stand.calls(), asked)
            asked_in_words = await in_words(stand, in_words_of(task, sentence.text))
        return {
            "label": sentence.label,
            "calibrated": rounded(choice.probabilities),
            "uncalibrated": rounded(choice.uncalibrated),
            "asked": asked_in_words,
        }

    return await asyncio.gather(*map(one, task.sentences))


async def uncalibrated(stand: ReadingStand, task: Task, text: str) -> dict[str, float]:
    asked = replace(question(asking(task.recipe), stand.model, text, task.labels), blanks=())
    return dict((await Chooser(lambda _: 1).choose(stand.calls(), asked)).uncalibrated)


def in_words_of(task: Task, text: str) -> Messages:
    """As applications do it."""
    labels = ", ".join(task.labels[:-1]) + f" or {task.labels[-1]}"
    plain = f"What is the {ASPECT[task.recipe]} of this text: {labels}? Answer with one word.\n\nText: {text}"
    return [{"role": "user", "content": plain}]


async def in_words(stand: ReadingStand, messages: Messages) -> str:
    body = {"model": stand.model, "messages": list(messages), "max_tokens": MOST_WORDS_TOKENS, "temperature": 0}
    answer = await stand.calls().ask(CHAT, body)
    return str(answer["choices"][0]["message"]["content"])


async def longer_labels(stand: ReadingStand) -> list[dict[str, Any]]:
    """Labels of several tokens: ways where they part, as `choose` does it, beside the likelihood of the whole label."""
    render, room = asking("classify"), asyncio.Semaphore(4)
    messages = render("")
    spelling = await spell(
        partial(tokens_of, stand.calls(), stand.model), begun_answer(messages), list(LONGER.values())
    )
    chooser, every = Chooser(lambda _: 1), every_point(spelling.tokens)
    sentences = labelled(read("topic"))
    step = len(sentences) // LONGER_SENTENCES
    blank = [await likelihoods(stand, render(text), spelling, every) for text in ("", "[MASK]")]

    async def one(sentence: Sentence) -> dict[str, Any]:
        async with room:
            asked = question(render, stand.model, sentence.text, tuple(LONGER.values()))
            choice = await chooser.choose(stand.calls(), asked)
            whole = await likelihoods(stand, render(sentence.text), spelling, every)
        return {
            "label": LONGER[sentence.label],
            "parting": rounded(choice.probabilities),
            "parting uncalibrated": rounded(choice.uncalibrated),
            "whole": rounded(over_habit(whole, blank)),
            "whole uncalibrated": rounded(whole),
        }

    return await asyncio.gather(*map(one, sentences[::step]))


def rounded(chances: Mapping[str, float]) -> dict[str, float]:
    return {label: round(chance, 6) for label, chance in chances.items()}


def every_point(spelled: Mapping[str, Tokens]) -> tuple[Point, ...]:
    found: dict[Tokens, set[int]] = {}
    for tokens in spelled.values():
        for depth, token in enumerate(tokens):
            found.setdefault(tokens[:depth], set()).add(token)
    return tuple(Point(prefix, tuple(sorted(found[prefix]))) for prefix in sorted(found, key=len))


async def likelihoods(
    stand: ReadingStand, messages: Messages, spelling: Spelling, every: tuple[Point, ...]
) -> dict[str, float]:
    prompt = spelling.prompt(await tokens_of(stand.calls(), stand.model, messages))
    told, _ = await read_points(stand.calls(), stand.model, prompt, every)
    sums = {
        label: math.fsum(told[tokens[:depth]][token] for depth, token in enumerate(tokens))
        for label, tokens in spelling.tokens.items()
    }
    highest = max(sums.values())
    return normalised({label: math.exp(value - highest) for label, value in sums.items()})


def over_habit(chances: Mapping[str, float], blank: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return normalised({label: chance / math.fsum(b[label] for b in blank) for label, chance in chances.items()})


async def measure(wanted: Collection[str], before: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"tasks": {}, **before}
    with tempfile.TemporaryDirectory() as folder:
        async with reading_stand(Path(folder)) as stand:
            found["model"] = stand.model
            for task in tasks():
                if not wanted or task.name in wanted:
                    nothing = {text: await uncalibrated(stand, task, text) for text in NOTHING_SAID}
                    answers = await choices(stand, task)
                    found["tasks"][task.name] = {"labels": task.labels, "nothing": nothing, "answers": answers}
                    print(task.name, flush=True)
            if not wanted or LONGER_TASK in wanted:
                found[LONGER_TASK] = await longer_labels(stand)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT)
    parser.add_argument("--only", action="append", default=[], help="a task by name; the others stay as they are")
    arguments = parser.parse_args()
    before = json.loads(arguments.json.read_text()) if arguments.only and arguments.json.exists() else {}
    found = asyncio.run(measure(arguments.only, before))
    arguments.json.write_text(json.dumps({**found, "commit": commit_id()}) + "\n")


if __name__ == "__main__":
    main()
