"""What choosing and explaining rely on in vLLM, with the default model through a gateway."""

import asyncio
import math
from collections.abc import Iterator
from itertools import islice

import pytest

from deployments.gateway.recipes.choose import Point
from deployments.gateway.recipes.chooser import Chooser, Question
from deployments.gateway.recipes.explain import Render, explain_choice, explain_text
from deployments.gateway.recipes.label_reads import read_points, tokens_of
from engine.guard import TOKENS_ROUTE
from tests.benchmarks.reading_stand import ReadingStand, reading_stand
from tests.sets.sets import POLAR, asking, labelled, planted, question, read

pytestmark = pytest.mark.engine
CHAT = b"/v1/chat/completions"
FRANCE = "What is the capital of France?"


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def stand(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingStand]:
    """One engine, ended by the last test."""
    opened = reading_stand(tmp_path_factory.mktemp("reading"))
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_asked_log_probabilities_all_come_back_and_are_the_models(runner: asyncio.Runner, stand: ReadingStand) -> None:
    """Beside those of a chat, which shows the most likely ones; the sampled token is not among those asked for."""

    async def both() -> tuple[dict[int, float], dict[str, float]]:
        prompt = await tokens_of(stand.calls(), stand.model, user(FRANCE))
        body = {"model": stand.model, "messages": user(FRANCE), "max_tokens": 1, "temperature": 0}
        shown = await stand.calls().ask(
            CHAT, {**body, "logprobs": True, "top_logprobs": 8, "return_tokens_as_token_ids": True}
        )
        top = shown["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        ids = tuple(int(entry["token"].removeprefix("token_id:")) for entry in top)
        found, _ = await read_points(stand.calls(), stand.model, prompt, [Point((), ids[1:])])
        return found[()], {str(token): entry["logprob"] for token, entry in zip(ids, top, strict=True)}

    read_, shown = runner.run(both())
    assert len(read_) == 7
    assert all(value == pytest.approx(shown[str(token)], abs=1e-3) for token, value in read_.items())


def test_a_second_read_of_a_prompt_finds_it_in_the_cache(runner: asyncio.Runner, stand: ReadingStand) -> None:
    async def twice() -> int:
        prompt = await tokens_of(stand.calls(), stand.model, user("A long question about hadrons. " * 20))
        for _ in range(2):
            _, cost = await read_points(stand.calls(), stand.model, prompt, [Point((), (1, 2))])
        return cost.cached_tokens

    assert runner.run(twice()) >= 96


def test_labels_are_spelled_after_the_answers_beginning_and_one_may_begin_another(
    runner: asyncio.Runner, stand: ReadingStand
) -> None:
    async def choices() -> tuple[dict[str, float], dict[str, float]]:
        hot = [*user("Is fire hot or cold?"), {"role": "assistant", "content": "Fire is"}]
        labels = ("hot", "cold", "hot as ice")
        one, other = [
            await Chooser(lambda _: 1).choose(stand.calls(), Question("t", stand.model, hot, order))
            for order in (labels, labels[::-1])
        ]
        return dict(one.probabilities), dict(other.probabilities)

    one, other = runner.run(choices())
    assert one["hot"] > one["hot as ice"]
    assert math.fsum(one.values()) == pytest.approx(1, abs=1e-6)
    assert one == pytest.approx(other, abs=1e-4)


def test_plain_cases_are_chosen_rightly(runner: asyncio.Runner, stand: ReadingStand) -> None:
    async def right(recipe: str, name: str, labels: tuple[str, ...], step: int) -> float:
        chooser, render = Chooser(lambda _: 1), asking(recipe)
        sentences = [sentence for sentence in labelled(read(name)) if sentence.label in labels][::step]
        chosen = [
            (await chooser.choose(stand.calls(), question(render, stand.model, sentence.text, labels))).label
            for sentence in sentences
        ]
        return sum(a == b.label for a, b in zip(chosen, sentences, strict=True)) / len(sentences)

    assert runner.run(right("sentiment", "sentiment", POLAR, 10)) >= 0.9
    assert runner.run(right("classify", "topic", tuple(read("topic")), 10)) >= 0.8


def test_the_sentence_that_decides_comes_first(runner: asyncio.Runner, stand: ReadingStand) -> None:
    async def ranks() -> list[bool]:
        chooser, render = Chooser(lambda _: 1), asking("sentiment")
        found = []
        for case in islice(planted(), 0, None, 12):
            asked = question(render, stand.model, case.text, POLAR)
            why = await explain_choice(chooser, stand.calls(), asked, render, case.text, "sentence")
            found.append(why.order[0] == case.decisive)
        return found

    found = runner.run(ranks())
    assert sum(found) >= len(found) - 1, found


def test_every_token_of_a_text_is_told_and_the_words_it_rests_on(runner: asyncio.Runner, stand: ReadingStand) -> None:
    async def why() -> tuple[str, list[str], set[str], int]:
        said = await stand.calls().ask(
            CHAT, {"model": stand.model, "messages": user(FRANCE), "max_tokens": 24, "temperature": 0}
        )
        answer = said["choices"][0]["message"]["content"]
        render: Render = user
        told = await explain_text(stand.calls(), stand.model, render, FRANCE, answer)
        first = {told.segments[index].of(FRANCE).strip() for index in told.order[:2]}
        return answer, [token.text for token in told.tokens], first, told.cost.cached_tokens

    answer, tokens, first, cached = runner.run(why())
    assert "".join(tokens) == answer
    assert first == {"capital", "France?"}
    assert cached == 0


def test_a_prompt_longer_than_the_context_is_refused_as_elsewhere(runner: asyncio.Runner, stand: ReadingStand) -> None:
    body = {"model": stand.model, "token_ids": [5] * 5000, "sampling_params": {"max_tokens": 1}}
    with pytest.raises(Exception, match="400"):
        runner.run(stand.calls().ask(TOKENS_ROUTE, body))
