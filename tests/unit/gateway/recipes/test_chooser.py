"""A choice on an engine: what is asked of it, in which order, and what is remembered."""

import math
from dataclasses import replace
from typing import Any

import pytest

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes.calibration import CONTENT_FREE
from deployments.gateway.recipes.chooser import Chooser, Question
from deployments.gateway.recipes.label_reads import MOST_TOKENS_READ
from tests.unit.gateway.recipes.toy_engine import ToyEngine

LIKES = {"mood": {"positive": 1.0, "negative": 0.0}, "love": {"positive": 3.0}, "hate": {"negative": 3.0}}


def messages(text: str, start: str = "") -> list[dict[str, str]]:
    asked = {"role": "user", "content": f"What mood? {text}"}
    return [asked, {"role": "assistant", "content": start}] if start else [asked]


def question(text: str, *labels: str, start: str = "", tenant: str = "acme") -> Question:
    blanks = tuple(messages(blank, start) for blank in CONTENT_FREE)
    return Question(tenant, "m", messages(text, start), labels or ("positive", "negative"), blanks)


@pytest.fixture
def chooser() -> Chooser:
    return Chooser(lambda _: "replica-1")


@pytest.mark.parametrize("start", ["", "It is"])
@pytest.mark.parametrize("thinks", [(), (7, 8)])
async def test_the_model_s_own_likelihoods_decide(chooser: Chooser, start: str, thinks: tuple[int, ...]) -> None:
    engine = ToyEngine({word: {f"{start} {way}".strip(): v for way, v in row.items()} for word, row in LIKES.items()})
    engine.thinks = thinks
    loved, hated = [await chooser.choose(engine, question(text, start=start)) for text in ("I love it", "I hate it")]
    assert (loved.label, hated.label) == ("positive", "negative")
    assert loved.uncalibrated["positive"] == pytest.approx(1 / (1 + math.exp(-4)))
    assert loved.probabilities["positive"] == pytest.approx(1 / (1 + math.exp(-3)))
    assert hated.probabilities["positive"] == pytest.approx(loved.probabilities["negative"])


async def test_the_order_in_which_labels_are_given_changes_nothing(chooser: Chooser) -> None:
    engine = ToyEngine(LIKES)
    labels = ("positive", "negative", "neutral", "positively odd")
    one = await chooser.choose(engine, question("love", *labels))
    other = await chooser.choose(engine, question("love", *reversed(labels)))
    assert one.probabilities == other.probabilities
    assert math.fsum(one.probabilities.values()) == pytest.approx(1, abs=1e-6)


async def test_only_the_first_choice_of_its_kind_pays_for_calibration(chooser: Chooser) -> None:
    engine = ToyEngine(LIKES)
    first, second = [await chooser.choose(engine, question(text)) for text in ("love", "hate")]
    assert (first.cost.reads, second.cost.reads) == (1 + len(CONTENT_FREE), 1)
    assert second.cost.output_tokens == 1
    assert second.cost.prompt_tokens == len(engine.reads()[-1]["token_ids"])


async def test_another_tenant_learns_nothing_of_what_is_remembered(chooser: Chooser) -> None:
    engine = ToyEngine(LIKES)
    await chooser.choose(engine, question("love"))
    calls = len(engine.asked)
    await chooser.choose(engine, question("love", tenant="other"))
    assert len(engine.asked) == 2 * calls


async def test_other_replicas_are_asked_anew() -> None:
    serving = ["replica-1"]
    chooser, engine = Chooser(lambda _: serving[0]), ToyEngine(LIKES)
    await chooser.choose(engine, question("love"))
    serving[0] = "replica-2"
    assert (await chooser.choose(engine, question("love"))).cost.reads == 1 + len(CONTENT_FREE)


async def test_what_was_learned_while_replicas_came_or_went_is_not_remembered() -> None:
    """A model that was asleep when it was asked is woken by that; when it sleeps again, another version may wake."""
    serving = [""]

    class Waking(ToyEngine):
        async def ask(self, path: bytes, document: dict[str, Any]) -> dict[str, Any]:
            serving[0] = "replica-1"
            return await super().ask(path, document)

    chooser = Chooser(lambda _: serving[0])
    await chooser.choose(Waking(LIKES), question("love"))
    serving[0] = ""
    other = ToyEngine(LIKES, thinks=(7, 8))
    await chooser.choose(other, question("love"))
    spelled = {document["messages"][-1]["content"] for _, document in other.asked if "messages" in document}
    assert spelled >= {"positive", "negative"}


async def test_where_labels_part_later_the_deeper_reads_come_after_the_first(chooser: Chooser) -> None:
    engine = ToyEngine({"mood": {"very good": 2.0, "very bad": 1.0, "so-so": 0.5}})
    asked = replace(question("x", "very good", "very bad", "so-so", "so what"), blanks=())
    choice = await chooser.choose(engine, asked)
    assert choice.label == "very good"
    prompts = [document["token_ids"] for document in engine.reads()]
    assert len(prompts) == 3
    assert all(prompt[: len(prompts[0])] == prompts[0] for prompt in prompts)
    assert choice.cost.reads == 3


async def test_a_label_that_begins_another_can_be_chosen(chooser: Chooser) -> None:
    engine = ToyEngine({"mood": {"good": 5.0, "good value": 1.0}})
    choice = await chooser.choose(engine, replace(question("x", "good", "good value", "bad"), blanks=()))
    assert choice.label == "good"
    assert choice.probabilities["good"] > 0.9


async def test_more_labels_than_an_engine_tells_of_at_once_take_more_reads(chooser: Chooser) -> None:
    labels = tuple(chr(0x4E00 + number) for number in range(2 * MOST_TOKENS_READ + 1))
    engine = ToyEngine({"mood": {labels[-1]: 5.0}})
    choice = await chooser.choose(engine, replace(question("x", *labels), blanks=()))
    assert choice.label == labels[-1]
    assert choice.cost.reads == 3


async def test_labels_that_are_one_to_the_model_are_refused(chooser: Chooser) -> None:
    with pytest.raises(GatewayError) as refused:
        await chooser.choose(ToyEngine(LIKES), question("x", "good", ""))
    assert (refused.value.status, refused.value.param) == (400, "labels")


async def test_an_engine_that_tells_no_probabilities_is_named(chooser: Chooser) -> None:
    class Silent(ToyEngine):
        def _generate(self, document: object) -> dict[str, object]:
            return {"choices": [{"logprobs": None}], "usage": {"prompt_tokens": 1}}

    with pytest.raises(GatewayError) as failed:
        await chooser.choose(Silent(LIKES), question("x"))
    assert failed.value.code == "probabilities_not_told"


async def test_nothing_is_kept_of_a_call_that_fails(chooser: Chooser) -> None:
    class Failing(ToyEngine):
        async def ask(self, path: bytes, document: dict[str, object]) -> dict[str, object]:
            raise GatewayError(503, "at_capacity", "full")

    with pytest.raises(GatewayError):
        await chooser.choose(Failing(LIKES), question("love"))
    assert (await chooser.choose(ToyEngine(LIKES), question("love"))).label == "positive"


async def test_labels_that_one_call_may_not_all_ask_for_are_there_for_the_next(chooser: Chooser) -> None:
    """A tenant may have fewer requests in a minute than there are labels."""

    class Limited(ToyEngine):
        left = 4

        async def ask(self, path: bytes, document: dict[str, Any]) -> dict[str, Any]:
            self.left -= 1
            if self.left < 0:
                raise GatewayError(429, "rate_limit_exceeded", "later")
            return await super().ask(path, document)

    engine, asked = Limited(LIKES), replace(question("love", "positive", *"abcdefgh"), blanks=())
    for _ in range(2):
        with pytest.raises(GatewayError):
            await chooser.choose(engine, asked)
        engine.left = 4
    engine.left = 5
    assert (await chooser.choose(engine, asked)).label == "positive"
