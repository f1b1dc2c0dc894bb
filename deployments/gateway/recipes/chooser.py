"""Chooses among labels by a model's own probabilities, calibrated; remembers how it spells them, and its habits."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b

import orjson

from deployments.gateway.errors import engine_error
from deployments.gateway.recipes.bounded_cache import BoundedCache
from deployments.gateway.recipes.calibration import calibrated, habit
from deployments.gateway.recipes.choose import Tokens, most_likely, points, probabilities
from deployments.gateway.recipes.label_reads import (
    Asks,
    Cost,
    Message,
    Spelling,
    begun_answer,
    read_points,
    spell,
    tokens_of,
)

SPELLINGS_BYTES = 2 * 2**20
HABITS_BYTES = 2**20
RENDERINGS_BYTES = 4 * 2**20
LARGEST_REMEMBERED_BYTES = 2048

Messages = Sequence[Message]


@dataclass(frozen=True, slots=True)
class Question:
    """`model` is asked with `messages`, of which the last may be an assistant's that begins the answer.

    `blanks`: the same with inputs without content (`calibration.CONTENT_FREE`) in the place of what a user said; none:
    nothing is calibrated. `tenant`: nobody else profits from, or can time, what is remembered for it.
    """

    tenant: str
    model: str
    messages: Messages
    labels: tuple[str, ...]
    blanks: tuple[Messages, ...] = ()

    def of(self, messages: Messages) -> Question:
        """The same of another input."""
        return replace(self, messages=messages)


@dataclass(frozen=True, slots=True)
class Choice:
    """`probabilities` of all labels have the sum 1; `uncalibrated`: as the model has them. `cost`: of this call; what
    was remembered cost nothing.
    """

    label: str
    probabilities: Mapping[str, float]
    uncalibrated: Mapping[str, float]
    cost: Cost


@dataclass(frozen=True, slots=True)
class Remembering:
    """An engine is asked nothing short twice: who may not ask for all labels within a minute has some the next."""

    engine: Asks
    model: str
    kept: BoundedCache[array[int]]
    key: Callable[[object], Callable[[], Hashable]]

    async def tokens(self, messages: Messages) -> Tokens:
        if len(orjson.dumps(messages)) > LARGEST_REMEMBERED_BYTES:
            return await tokens_of(self.engine, self.model, messages)
        return tuple(await self.kept.get(self.key(messages), lambda: self._read(messages)))

    async def _read(self, messages: Messages) -> array[int]:
        """Four bytes a token, of which a list would take forty."""
        try:
            return array("I", await tokens_of(self.engine, self.model, messages))
        except (TypeError, OverflowError):
            raise engine_error() from None


class Chooser:
    """One per gateway. `version`: of what serves a model now; when it changes, what was remembered counts no more."""

    def __init__(self, version: Callable[[str], Hashable]) -> None:
        self._version = version
        self._spellings: BoundedCache[Spelling] = BoundedCache(SPELLINGS_BYTES)
        self._renderings: BoundedCache[array[int]] = BoundedCache(RENDERINGS_BYTES)
        self._habits: BoundedCache[Mapping[str, float]] = BoundedCache(HABITS_BYTES)

    async def choose(self, engine: Asks, question: Question) -> Choice:
        """Raises:
        GatewayError: two labels are the same to the model, or as a plain request's.
        """
        spelling = await self._spelling(engine, question)
        (raw, cost), (habits, more) = await asyncio.gather(
            read_chances(engine, question.model, question.messages, spelling),
            self._habits_of(engine, question, spelling),
        )
        chances = calibrated(raw, habits) if habits else raw
        return Choice(most_likely(chances), chances, raw, cost + more)

    async def _spelling(self, engine: Asks, question: Question) -> Spelling:
        start, labels = begun_answer(question.messages), sorted(question.labels)
        key = self._key(question, [start, labels])
        remembering = Remembering(engine, question.model, self._renderings, partial(self._key, question))
        return await self._spellings.get(key, lambda: spell(remembering.tokens, start, labels))

    async def _habits_of(
        self, engine: Asks, question: Question, spelling: Spelling
    ) -> tuple[Mapping[str, float], Cost]:
        """What it answers to nothing, and what it cost to find out now."""
        if not question.blanks:
            return {}, Cost()
        spent = [Cost()]

        async def read() -> Mapping[str, float]:
            asked = (read_chances(engine, question.model, blank, spelling) for blank in question.blanks)
            answers = await asyncio.gather(*asked)
            spent.extend(cost for _, cost in answers)
            return habit([chances for chances, _ in answers])

        key = self._key(question, [question.blanks, sorted(question.labels)])
        return await self._habits.get(key, read), sum(spent, Cost())

    def _key(self, question: Question, said: object) -> Callable[[], Hashable]:
        """Short, however much was said; with what serves the model at the moment, which may be nothing yet."""
        digest = blake2b(orjson.dumps(said), digest_size=16).digest()
        return lambda: (question.tenant, question.model, self._version(question.model), digest)


async def read_chances(
    engine: Asks, model: str, messages: Messages, spelling: Spelling
) -> tuple[dict[str, float], Cost]:
    """Of each label, as the model has them."""
    prompt = spelling.prompt(await tokens_of(engine, model, messages))
    read, cost = await read_points(engine, model, prompt, points(spelling.tokens))
    return probabilities(spelling.tokens, read), cost
