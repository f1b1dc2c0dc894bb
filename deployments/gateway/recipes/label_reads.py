"""Asks engines for what choosing among labels needs: how a model spells them, and how likely each way on is."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deployments.gateway.errors import GatewayError, bad_request, engine_error
from deployments.gateway.recipes.choose import Point, Tokens, shared_beginning, with_ends
from deployments.gateway.recipes.decoded import usage_of
from deployments.gateway.recipes.engine_routes import TOKENIZE
from engine.guard import TOKENS_ROUTE

MOST_TOKENS_READ = 127
ANYTHING = {"role": "user", "content": "?"}

Message = Mapping[str, str]
TokensOf = Callable[[Sequence[Message]], Awaitable[Tokens]]


class Asks(Protocol):
    """`InnerCalls`, as far as it is needed here."""

    async def ask(self, path: bytes, document: dict[str, Any]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """`reads`: one-token requests to engines. Tokens as engines count them; `cached_tokens` are part of the prompts."""

    reads: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.reads + other.reads,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )

    def document(self) -> dict[str, int]:
        """`computed_tokens`: of the prompts, as no cache had them."""
        return {
            "reads": self.reads,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "computed_tokens": self.prompt_tokens - self.cached_tokens,
            "output_tokens": self.output_tokens,
        }


@dataclass(frozen=True, slots=True)
class Spelling:
    """`tokens` of each label, where an answer begins. They take the place of the prompt's last `instead_of` tokens."""

    tokens: Mapping[str, Tokens]
    instead_of: int

    def prompt(self, tokens: Tokens) -> Tokens:
        return tokens[: len(tokens) - self.instead_of]


def begun_answer(messages: Sequence[Message]) -> str:
    """What the last message begins the answer with; empty if it is the user's."""
    last = messages[-1]
    return last["content"] if last["role"] == "assistant" else ""


def answer_with(start: str, label: str) -> dict[str, str]:
    return {"role": "assistant", "content": f"{start} {label}" if start else label}


async def tokens_of(engine: Asks, model: str, messages: Sequence[Message]) -> Tokens:
    """Of the prompt, to where the answer goes on: after the last message, if it begins the answer."""
    goes_on = messages[-1]["role"] == "assistant"
    document = {
        "model": model,
        "messages": list(messages),
        "add_generation_prompt": not goes_on,
        "continue_final_message": goes_on,
    }
    tokens = (await engine.ask(TOKENIZE, document)).get("tokens")
    if not isinstance(tokens, list) or not tokens:
        raise engine_error()
    return tuple(tokens)


async def spell(tokens: TokensOf, start: str, labels: Sequence[str]) -> Spelling:
    """As many prompts are made into tokens as there are labels, and one more.

    Raises:
        GatewayError: 400, two labels are the same to this model's tokenizer.
    """
    begun = [ANYTHING, {"role": "assistant", "content": start}] if start else [ANYTHING]
    answers = [[ANYTHING, answer_with(start, label)] for label in labels]
    before, *rendered = await asyncio.gather(*(tokens(turns) for turns in (begun, *answers)))
    shared = shared_beginning([before, *rendered])
    spelled = {label: rendering[shared:] for label, rendering in zip(labels, rendered, strict=True)}
    refuse_alike(spelled)
    return Spelling(with_ends(spelled), len(before) - shared)


def refuse_alike(tokens: Mapping[str, Tokens]) -> None:
    seen: dict[Tokens, str] = {}
    for label, spelled in tokens.items():
        if not spelled:
            raise bad_request("A label needs a text.", "labels")
        other = seen.setdefault(spelled, label)
        if other is not label:
            raise bad_request(f"The labels '{other}' and '{label}' are the same to this model.", "labels")


async def read_points(
    engine: Asks, model: str, prompt: Tokens, asked: Sequence[Point]
) -> tuple[dict[Tokens, dict[int, float]], Cost]:
    """The first alone, and then the others at once, which find the prompt in the engine's prefix cache."""
    wanted = [part for point in asked for part in parts(point)]
    first = [await read_token(engine, model, prompt, part) for part in wanted[:1]]
    others = await asyncio.gather(*(read_token(engine, model, prompt, part) for part in wanted[1:]))
    found: dict[Tokens, dict[int, float]] = {}
    cost = Cost()
    for prefix, log_probs, spent in (*first, *others):
        found.setdefault(prefix, {}).update(log_probs)
        cost += spent
    return found, cost


def parts(point: Point) -> Iterator[Point]:
    """As many tokens at a time as an engine takes."""
    for at in range(0, len(point.tokens), MOST_TOKENS_READ):
        yield Point(point.prefix, point.tokens[at : at + MOST_TOKENS_READ])


async def read_token(engine: Asks, model: str, prompt: Tokens, point: Point) -> tuple[Tokens, dict[int, float], Cost]:
    """How likely each of the tokens comes next.

    vLLM shows as many log-probabilities as it is asked for, the sampled token's first, which may not be one of ours:
    one is asked for twice, so that none is cut off.
    """
    twice = [*point.tokens, point.tokens[0]]
    sampling = {
        "max_tokens": 1,
        "temperature": 0,
        "detokenize": False,
        "logprobs": len(twice),
        "logprob_token_ids": twice,
    }
    document = {"model": model, "token_ids": [*prompt, *point.prefix], "sampling_params": sampling}
    answer = await engine.ask(TOKENS_ROUTE, document)
    try:
        shown = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        found = {entry["token_id"]: float(entry["logprob"]) for entry in shown}
        return point.prefix, {token: found[token] for token in point.tokens}, cost_of(answer)
    except (KeyError, IndexError, TypeError):
        raise not_told() from None


def cost_of(answer: Mapping[str, Any]) -> Cost:
    usage = usage_of(answer)
    if usage is None:
        raise not_told()
    return Cost(1, usage.prompt_tokens, usage.cached_tokens or 0, usage.output_tokens)


def not_told() -> GatewayError:
    message = "The engine did not tell the probabilities that were asked for; this needs vLLM 0.32 or a later one."
    return GatewayError(502, "probabilities_not_told", message)
