"""Why an answer was given: how much less likely it is without each part of the input.

A choice is read again without each part, by the same reads. A text is read as part of the prompt (`prompt_logprobs`),
for which vLLM uses no prefix cache: each variant is computed whole.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.gateway.recipes.choose import Tokens, shared_beginning
from deployments.gateway.recipes.chooser import Chooser, Messages, Question
from deployments.gateway.recipes.label_reads import Asks, Cost, begun_answer, cost_of, not_told, tokens_of
from deployments.gateway.recipes.occlusion import MOST_SEGMENTS, Segment, Unit, best_unit, ranked, segments, shift
from engine.guard import TOKENS_ROUTE

LEAST_CHANCE = 1e-12

Render = Callable[[str], Messages]


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A piece of the answer and its natural log-probability after all before it."""

    text: str
    log_prob: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """`contributions[i]` of `segments[i]`: log p(answer | text) - log p(answer | text without it), natural logarithms.
    `shifts[i]`: how much probability goes to other labels without it; none, if the answer is no label.

    `cost`: of the variants, the text as it is among them.
    """

    text: str
    unit: Unit
    answer: str
    log_prob: float
    segments: tuple[Segment, ...]
    contributions: tuple[float, ...]
    tokens: tuple[AnswerToken, ...]
    cost: Cost
    shifts: tuple[float, ...] = ()

    @property
    def order(self) -> list[int]:
        """Indexes of the segments, what decides most first, whether it speaks for the answer or against it."""
        return ranked(self.shifts or [abs(value) for value in self.contributions])

    def document(self) -> dict[str, Any]:
        return {
            "method": "occlusion",
            "unit": self.unit,
            "answer": self.answer,
            "log_prob": self.log_prob,
            "segments": self._parts(),
            "tokens": [{"text": token.text, "log_prob": token.log_prob} for token in self.tokens],
            "cost": {"variants": len(self.segments) + 1, **self.cost.document()},
        }

    def _parts(self) -> list[dict[str, Any]]:
        """In the order of the text; `rank` 1 decides most."""
        ranks = {index: rank for rank, index in enumerate(self.order, 1)}
        return [
            {
                "begin": segment.begin,
                "end": segment.end,
                "text": segment.of(self.text),
                "contribution": self.contributions[index],
                **({"shift": self.shifts[index]} if self.shifts else {}),
                "rank": ranks[index],
            }
            for index, segment in enumerate(self.segments)
        ]


async def explain_choice(
    chooser: Chooser,
    engine: Asks,
    question: Question,
    render: Render,
    text: str,
    unit: Unit | None = None,
    at_most: int = MOST_SEGMENTS,
) -> Explanation:
    """Why the question's label was chosen, by its calibrated probability. `render`: the messages for another `text`.

    Raises:
        GatewayError: as `choose`.
    """
    unit = unit or best_unit(text)
    cut = segments(text, unit, at_most)
    whole = await chooser.choose(engine, question.of(render(text)))
    without = await asyncio.gather(
        *(chooser.choose(engine, question.of(render(segment.without(text)))) for segment in cut)
    )
    log_probs = [log_chance(choice.probabilities[whole.label]) for choice in (whole, *without)]
    cost = sum((choice.cost for choice in (whole, *without)), Cost())
    gains = tuple(log_probs[0] - value for value in log_probs[1:])
    shifts = tuple(shift(whole.probabilities, choice.probabilities) for choice in without)
    answer = (AnswerToken(whole.label, log_probs[0]),)
    return Explanation(text, unit, whole.label, log_probs[0], cut, gains, answer, cost, shifts)


def log_chance(chance: float) -> float:
    return math.log(max(LEAST_CHANCE, chance))


async def explain_text(
    engine: Asks,
    model: str,
    render: Render,
    text: str,
    answer: str,
    unit: Unit | None = None,
    at_most: int = MOST_SEGMENTS,
) -> Explanation:
    """Why this model wrote `answer`, or would.

    Raises:
        GatewayError: as a plain request's: a variant with the answer may be longer than the model's context.
    """
    unit = unit or best_unit(text)
    cut = segments(text, unit, at_most)
    variants = [render(text), *(render(segment.without(text)) for segment in cut)]
    read = await asyncio.gather(*(score(engine, model, messages, answer) for messages in variants))
    log_probs = [math.fsum(token.log_prob for token in tokens) for tokens, _ in read]
    gains = tuple(log_probs[0] - value for value in log_probs[1:])
    cost = sum((spent for _, spent in read), Cost())
    return Explanation(text, unit, answer, log_probs[0], cut, gains, read[0][0], cost)


async def score(engine: Asks, model: str, messages: Messages, answer: str) -> tuple[tuple[AnswerToken, ...], Cost]:
    """The answer's tokens after this prompt."""
    start = begun_answer(messages)
    before = messages[:-1] if start else messages
    answered = [*before, {"role": "assistant", "content": f"{start}{answer}"}]
    prompt, whole = await asyncio.gather(tokens_of(engine, model, messages), tokens_of(engine, model, answered))
    begin = shared_beginning([prompt, whole])
    sampling = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    told = await engine.ask(TOKENS_ROUTE, {"model": model, "token_ids": list(whole), "sampling_params": sampling})
    return scored(told.get("prompt_logprobs"), whole, begin), cost_of(told)


def scored(told: Any, tokens: Tokens, begin: int) -> tuple[AnswerToken, ...]:
    """Those from `begin` on."""
    try:
        entries: Sequence[Mapping[str, Any]] = [told[at][str(tokens[at])] for at in range(max(1, begin), len(tokens))]
        return tuple(AnswerToken(entry.get("decoded_token") or "", float(entry["logprob"])) for entry in entries)
    except (KeyError, IndexError, TypeError):
        raise not_told() from None
